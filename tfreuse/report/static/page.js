// The report's page: the views replace its static blocks, if they run.
import {start} from "./app.js";
import {enliven} from "./figure.js";

const root = document.documentElement;
root.classList.add("has-views"); // before the views measure their width
start(document.getElementById("app")).catch((error) => {
  root.classList.remove("has-views");
  throw error;
});
// figures of static blocks stay as they are: the views copy them, and print shows them
for (const picture of document.querySelectorAll("section svg.figure")) {
  if (!picture.closest(".fallback")) enliven(picture);
}
