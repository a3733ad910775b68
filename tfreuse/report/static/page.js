// The report's page: what it says by itself gives way to what can be asked, if that runs.
import {start} from "./app.js";
import {enliven} from "./figure.js";

const root = document.documentElement;
root.classList.add("has-views"); // before anything is drawn, which is measured for
start(document.getElementById("app")).catch((error) => {
  root.classList.remove("has-views");
  throw error;
});
// what the views show is hidden below; its markup stays as it is, for print and for the views
for (const one of document.querySelectorAll("section svg.figure")) {
  if (!one.closest(".fallback")) enliven(one);
}
