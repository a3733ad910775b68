// What TensorBoard imports: it calls render() in an empty page of its own (an iframe).
import {start} from "./app.js";

export async function render() {
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL("./style.css", import.meta.url).href;
  const ready = new Promise((resolve) => {
    sheet.onload = sheet.onerror = resolve;
  });
  document.head.append(sheet);
  document.documentElement.lang = "en";
  document.title = "Reusability";
  await ready;
  await start(document.body);
}
