// The report's page: what it says by itself gives way to what can be asked, if that runs.
import {start} from "./app.js";

const root = document.documentElement;
root.classList.add("has-views"); // before anything is drawn, which is measured for
start(document.getElementById("app")).catch((error) => {
  root.classList.remove("has-views");
  throw error;
});
