// The report's page: the views replace its static blocks, if they run.
import {start} from "./app.js";
import {enliven} from "./figure.js";
import {ANCHORS} from "./panels.js";

const root = document.documentElement;
root.classList.add("has-views"); // before the views measure their width
start(document.getElementById("app")).then(lead, (error) => {
  root.classList.remove("has-views");
  throw error;
});

/** Links to static blocks that are hidden now lead to the views that stand for them. */
function lead() {
  for (const [place, id] of Object.entries(ANCHORS)) {
    const section = document.querySelector(`section.fallback#${id}`);
    const view = document.querySelector(`#app .${place}`)?.closest("section");
    if (!section || !view) continue;
    section.removeAttribute("id");
    view.id = id;
    document.querySelector(`nav a[href="#${id}"]`).classList.remove("fallback");
  }
  const named = location.hash && document.getElementById(location.hash.slice(1));
  if (named) requestAnimationFrame(() => named.scrollIntoView()); // the views are drawn by then
}
// figures of static blocks stay as they are: the views copy them, and print shows them
for (const picture of document.querySelectorAll("section svg.figure")) {
  if (!picture.closest(".fallback")) enliven(picture);
}
