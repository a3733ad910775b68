// The page: its choices, its requests, the places of the answers, and polling.
import {advice} from "./advice.js";
import {answers} from "./answers.js";
import {LIVE, ask, picture} from "./api.js";
import * as cell from "./cell.js";
import {choice} from "./controls.js";
import {el, show} from "./dom.js";
import {figure} from "./figure.js";
import {duration, name, whole} from "./format.js";
import {replace} from "./keep.js";
import {labels} from "./labels.js";
import * as panels from "./panels.js";
import {follow} from "./theme.js";
import {cards, glance} from "./verdicts.js";

const SOON = 700; // milliseconds between requests on a study that is being read
const RUNNING = 3_000; // ... that is being measured
const FINISHED = 15_000;
const OF_A_STUDY = [
  "advice", "answers", "verdicts", "glance", "controls", "heat", "drawing", "labels", ...panels.NAMES,
];

class Page {
  constructor(root) {
    this.places = {};
    this.view = {
      study: "", part: 0, kind: "", quantity: "retention", repair: "none", seed: -1,
    };
    this.study = null;
    this.turns = {}; // requests by place, so that a late answer never replaces a newer one
    root.append(this.frame());
    this.openCell = cell.panel(root);
  }

  frame() {
    const place = (name, tag = "div") => (this.places[name] = el(tag, {class: name}));
    const section = (title, ...children) =>
      el("section", {}, el("h2", {}, title), children);
    return el(
      "div",
      {class: "app"},
      el("header", {}, el("h1", {}, "What can I reuse?"), place("head")),
      place("warnings"),
      place("advice"),
      (this.places.body = el(
        "div",
        {hidden: true},
        place("parts"),
        el("section", {class: "first"}, place("answers")),
        section("The paper's claims", place("verdicts"), place("glance")),
        section(
          "Where in the network",
          place("controls"),
          el("div", {class: "where"}, place("heat"), place("drawing"))
        ),
        panels.NAMES.map((name) => section(panels.TITLES[name], place(name)))
      )),
      (this.places.few = el(
        "div",
        {hidden: true},
        section("Few labels: how many a donor saves", place("labels"))
      ))
    );
  }

  get part() {
    return this.study.parts[this.view.part];
  }

  /** The parameters that name the part. */
  named() {
    const {architecture, direction, link} = this.part;
    return {study: this.view.study, architecture, direction, link};
  }

  chosen() {
    const {quantity, repair, seed} = this.view;
    return {...this.named(), quantity, repair, seed};
  }

  async look() {
    const known = this.view.study && ask("study", {study: this.view.study}).catch(() => null);
    const {studies} = await ask("studies");
    const names = studies.map((study) => study.name);
    if (!names.length) return this.adviceAlone();
    if (!names.includes(this.view.study)) this.take(names[0]);
    this.names = names;
    let study = await known;
    // the reader may choose another study during a request
    while (study?.name !== this.view.study) study = await ask("study", {study: this.view.study});
    this.head(study);
    if (study.state !== "ready") return study.state === "failed" ? RUNNING : SOON;
    const stale = !this.study || this.study.version !== study.version;
    const first = !this.study;
    this.study = study;
    if (stale) {
      if (first) this.view.part = richest(study.parts);
      this.whole();
    }
    return study.progress.complete ? FINISHED : RUNNING;
  }

  /** A log directory with the advisor's plans and no study. */
  async adviceAlone() {
    const {cards} = await ask("advice");
    if (!cards.length) throw new Error("This log directory holds no study any more.");
    replace(this.places.head, el("b", {}, "The advisor's plans"));
    replace(this.places.advice, advice(cards));
    return RUNNING;
  }

  take(study) {
    Object.assign(this.view, {study, part: 0, seed: -1});
    this.study = null;
    this.places.body.hidden = this.places.few.hidden = true;
    for (const name of OF_A_STUDY) {
      this.turn(name); // late answers on the previous study are dropped
      show(this.places[name]);
    }
  }

  head(study) {
    const pick = choice(
      "study",
      this.names.map((value) => ({value, label: value})),
      this.view.study,
      (name) => {
        this.take(name);
        this.hurry();
      }
    );
    replace(this.places.head, pick ?? el("b", {}, study.name), status(study));
    const failures = study.failure ? [study.failure] : [];
    replace(this.places.warnings, warnings([...failures, ...(study.warnings ?? [])], study));
  }

  /** Shows the whole study: label curves, advice, and the chosen part. */
  whole() {
    const asked = {study: this.view.study};
    this.places.few.hidden = false;
    this.fill("labels", ask("labels", asked), labels);
    this.fill("advice", ask("advice", asked), ({cards}) => advice(cards));
    if (this.study.parts.length) this.all(); // else nothing has been measured yet
  }

  /** Shows everything of the chosen part. */
  all() {
    const {study, view, part} = this;
    const valid = (value, among, other) => (among.includes(value) ? value : other);
    const best = ["layer", "stage"].find((kind) => part.kinds.includes(kind));
    view.kind = valid(view.kind, part.kinds, best ?? part.kinds[0] ?? "all");
    view.repair = valid(view.repair, part.repairs, "none");
    view.seed = valid(view.seed, part.seeds, -1);
    this.places.body.hidden = false;
    this.chooseParts();
    replace(this.places.answers, answers(part, study.settings));
    const verdicts = study.verdicts.filter((verdict) => verdict.part === view.part);
    replace(this.places.verdicts, cards(verdicts));
    replace(this.places.glance, glance(study.parts, study.verdicts, view.part, (place) => {
      view.part = place;
      this.all();
      this.places.parts.scrollIntoView({block: "start"});
    }));
    this.where();
    for (const name of panels.NAMES) this.fill(name, ask(name, this.named()), panels.draw);
  }

  chooseParts() {
    const {parts} = this.study;
    const fields = {architecture: "network", direction: "direction", link: "link"};
    const choices = Object.entries(fields).map(([field, title]) =>
      choice(
        title,
        [...new Set(parts.map((part) => part[field]))].map((value) => ({value, label: name(value)})),
        this.part[field],
        (value) => {
          const chosen = {...this.part, [field]: value};
          this.view.part = parts.findIndex((part) =>
            Object.keys(fields).every((key) => part[key] === chosen[key])
          );
          this.all();
        }
      )
    );
    const alone = choices.every((element) => !element);
    replace(this.places.parts, choices, alone ? el("p", {class: "facts"}, this.part.title) : null);
  }

  controls() {
    const {view, part} = this;
    const options = (values) => values.map((value) => ({value, label: name(value)}));
    const set = (field) => (value) => {
      view[field] = value;
      this.where();
    };
    const seeds = [{value: -1, label: "mean"}].concat(
      part.seeds.map((seed) => ({value: seed, label: `seed ${seed}`}))
    );
    replace(
      this.places.controls,
      choice("where", options(part.kinds), view.kind, set("kind")),
      choice("quantity", options(["retention", "drop", "index"]), view.quantity, set("quantity")),
      choice("repair", options(part.repairs), view.repair, set("repair")),
      choice("seeds", seeds, view.seed, set("seed"))
    );
  }

  /** Heat map and drawing, which share their controls. */
  where() {
    this.controls();
    const named = this.named();
    const open = (kind, site, group) =>
      this.openCell(
        ask("cell", {...named, kind, site, group}),
        () => picture({...named, group}),
        () => ask("spread", {...named, kind, site, group})
      );
    const drawn = (kind) => ({drawings, hint: text}) => [
      drawings.length
        ? figure(drawings, {
            name: `${this.part.title}_${kind}`,
            opened: ({kind: of, site, group}) => open(of, site, group),
          })
        : null,
      text ? hint(text) : null,
    ];
    const {kind} = this.view;
    this.fill("heat", ask("heat", {...this.chosen(), kind}), drawn(kind));
    this.fill("drawing", ask("network", this.chosen()), drawn("network"));
  }

  /** Shows an answer in its place, unless a newer request for the place has begun. */
  async fill(name, answer, draw) {
    const place = this.places[name];
    const current = this.turn(name);
    place.setAttribute("aria-busy", "true");
    try {
      const data = await answer;
      if (current()) replace(place, draw(data));
    } catch (error) {
      if (current()) show(place, el("p", {class: LIVE ? "warning" : "hint"}, error.message));
    }
    if (current()) place.removeAttribute("aria-busy");
  }

  /** Begins a place's next request; returns a function that says whether it is the newest. */
  turn(name) {
    const turn = (this.turns[name] = (this.turns[name] ?? 0) + 1);
    return () => this.turns[name] === turn;
  }

  async run() {
    for (;;) {
      let wait = RUNNING;
      try {
        if (!document.hidden) wait = await this.look();
      } catch (error) {
        show(this.places.warnings, el("p", {class: "warning"}, `No answer: ${error.message}`));
      }
      await new Promise((resolve) => {
        this.hurry = resolve;
        setTimeout(resolve, wait);
      });
    }
  }
}

/** The part with most seeds, whose results are the most certain. */
function richest(parts) {
  const most = Math.max(...parts.map((part) => part.seeds.length));
  return parts.findIndex((part) => part.seeds.length === most);
}

function hint(text) {
  return el("p", {class: "hint"}, text);
}

/** The progress of a study, in words and as a bar. */
function status(study) {
  if (study.state === "failed") return el("p", {class: "status"}, "cannot be read");
  if (study.state === "reading") {
    return el(
      "p",
      {class: "status"},
      el("progress", {max: 1, value: study.share, "aria-label": "reading"}),
      ` reading records, ${Math.round(100 * study.share)} %`
    );
  }
  const {measured, fits, planned, blocks, finished, complete, last_record: last, left} = study.progress;
  const phrases = [
    planned && !complete
      ? `${whole(measured)} of about ${whole(planned)} arms`
      : `${whole(measured)} arms measured`,
    complete ? "complete" : `${finished} of ${blocks} blocks complete`,
  ];
  if (fits) phrases.push(`${whole(fits)} fits of label curves`);
  if (!measured && fits) phrases.splice(0, 2); // the study has label curves alone
  if (left) phrases.push(`about ${duration(left)} left`);
  if (last !== null && !complete) phrases.push(`last record ${duration(last)} ago`);
  const live = !complete && last !== null && last < 120;
  const share = planned ? measured / planned : finished / Math.max(1, blocks);
  return el(
    "p",
    {class: "status"},
    live ? el("i", {class: "live", title: "running"}) : null,
    complete ? null : el("progress", {max: 1, value: share, "aria-label": "measured"}),
    el("span", {}, phrases.join(" · "))
  );
}

function warnings(lines, study) {
  if (!lines.length) return null;
  const loud = study.failure || lines.length > 1;
  return el(
    "details",
    {class: loud ? "warning" : "", open: Boolean(loud)},
    el("summary", {}, `${lines.length} thing${lines.length > 1 ? "s" : ""} to know`),
    el("ul", {}, lines.map((line) => el("li", {}, line)))
  );
}

export async function start(root) {
  const page = new Page(root);
  if (!LIVE) await page.look(); // the answers in a file never change
  const redraw = () => page.study && page.whole();
  follow(redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (Math.abs(innerWidth - width) < 40) return;
    width = innerWidth;
    redraw();
  });
  if (LIVE) page.run();
}
