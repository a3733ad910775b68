// The page: what is chosen, what is asked, what is shown where, and looking again.
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

const SOON = 700; // milliseconds between looks at a study that is being read
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
    this.turns = {}; // by place, so that a late answer never replaces a later one
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
    const names = studies.map((one) => one.name);
    if (!names.length) return this.adviceAlone();
    if (!names.includes(this.view.study)) this.take(names[0]);
    this.names = names;
    let found = await known;
    // another may be chosen while one is asked for
    while (found?.name !== this.view.study) found = await ask("study", {study: this.view.study});
    this.head(found);
    if (found.state !== "ready") return found.state === "failed" ? RUNNING : SOON;
    const stale = !this.study || this.study.version !== found.version;
    const first = !this.study;
    this.study = found;
    if (stale) {
      if (first) this.view.part = richest(found.parts);
      this.whole();
    }
    return found.progress.complete ? FINISHED : RUNNING;
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
      this.turn(name); // what was asked for the study before is not shown any more
      show(this.places[name]);
    }
  }

  head(found) {
    const pick = choice(
      "study",
      this.names.map((value) => ({value, label: value})),
      this.view.study,
      (study) => {
        this.take(study);
        this.hurry();
      }
    );
    replace(this.places.head, pick ?? el("b", {}, found.name), status(found));
    const told = found.failure ? [found.failure] : [];
    replace(this.places.warnings, warnings([...told, ...(found.warnings ?? [])], found));
  }

  /** Everything of the study: what is of no part, and the part that is chosen. */
  whole() {
    const asked = {study: this.view.study};
    this.places.few.hidden = false;
    this.fill("labels", ask("labels", asked), labels);
    this.fill("advice", ask("advice", asked), ({cards}) => advice(cards));
    if (this.study.parts.length) this.all(); // else nothing has been measured yet
  }

  /** Everything of the part that is chosen. */
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
    const own = study.verdicts.filter((one) => one.part === view.part);
    replace(this.places.verdicts, cards(own));
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
    const made = Object.entries(fields).map(([field, title]) =>
      choice(
        title,
        [...new Set(parts.map((one) => one[field]))].map((value) => ({value, label: name(value)})),
        this.part[field],
        (value) => {
          const wanted = {...this.part, [field]: value};
          this.view.part = parts.findIndex((one) =>
            Object.keys(fields).every((key) => one[key] === wanted[key])
          );
          this.all();
        }
      )
    );
    const alone = made.every((one) => !one);
    replace(this.places.parts, made, alone ? el("p", {class: "facts"}, this.part.title) : null);
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

  /** Shows in a place what comes, unless something later has been asked for it since. */
  async fill(name, coming, made) {
    const place = this.places[name];
    const current = this.turn(name);
    place.setAttribute("aria-busy", "true");
    try {
      const data = await coming;
      if (current()) replace(place, made(data));
    } catch (error) {
      if (current()) show(place, el("p", {class: LIVE ? "warning" : "hint"}, error.message));
    }
    if (current()) place.removeAttribute("aria-busy");
  }

  /** Begins a place's next turn; tells whether it is still that one. */
  turn(name) {
    const own = (this.turns[name] = (this.turns[name] ?? 0) + 1);
    return () => this.turns[name] === own;
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

/** The part with most seeds, of which most can be said. */
function richest(parts) {
  const most = Math.max(...parts.map((one) => one.seeds.length));
  return parts.findIndex((one) => one.seeds.length === most);
}

function hint(text) {
  return el("p", {class: "hint"}, text);
}

/** How far the study is, in words and as a bar. */
function status(found) {
  if (found.state === "failed") return el("p", {class: "status"}, "cannot be read");
  if (found.state === "reading") {
    return el(
      "p",
      {class: "status"},
      el("progress", {max: 1, value: found.share, "aria-label": "reading"}),
      ` reading records, ${Math.round(100 * found.share)} %`
    );
  }
  const {measured, fits, planned, blocks, finished, complete, last_record: last, left} = found.progress;
  const told = [
    planned && !complete
      ? `${whole(measured)} of about ${whole(planned)} arms`
      : `${whole(measured)} arms measured`,
    complete ? "complete" : `${finished} of ${blocks} blocks complete`,
  ];
  if (fits) told.push(`${whole(fits)} fits of label curves`);
  if (!measured && fits) told.splice(0, 2); // nothing else was asked for
  if (left) told.push(`about ${duration(left)} left`);
  if (last !== null && !complete) told.push(`last record ${duration(last)} ago`);
  const live = !complete && last !== null && last < 120;
  const share = planned ? measured / planned : finished / Math.max(1, blocks);
  return el(
    "p",
    {class: "status"},
    live ? el("i", {class: "live", title: "running"}) : null,
    complete ? null : el("progress", {max: 1, value: share, "aria-label": "measured"}),
    el("span", {}, told.join(" · "))
  );
}

function warnings(lines, found) {
  if (!lines.length) return null;
  const loud = found.failure || lines.length > 1;
  return el(
    "details",
    {class: loud ? "warning" : "", open: Boolean(loud)},
    el("summary", {}, `${lines.length} thing${lines.length > 1 ? "s" : ""} to know`),
    el("ul", {}, lines.map((line) => el("li", {}, line)))
  );
}

export async function start(root) {
  const page = new Page(root);
  if (!LIVE) await page.look(); // one look is all there is
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
