// The module that TensorBoard imports: it calls render() in an empty page, an iframe.

const BASE = import.meta.url;

function style(name) {
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = new URL(name, BASE).href;
  const loaded = new Promise((resolve) => {
    sheet.onload = sheet.onerror = resolve;
  });
  document.head.append(sheet);
  return loaded;
}

export async function render() {
  document.documentElement.lang = "en";
  document.title = "Reusability";
  const [{start}] = await Promise.all([
    import("./app.js"), style("./style.css"), style("./figures.css"),
  ]);
  const main = document.createElement("main");
  document.body.append(main);
  await start(main);
}
