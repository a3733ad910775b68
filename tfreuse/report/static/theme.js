// Light or dark: as TensorBoard's own page is, which shares our origin; else as the system is.

const system = matchMedia("(prefers-color-scheme: dark)");

function host() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null; // framed by a page of another origin
  }
}

export function theme() {
  const body = host();
  const dark = body ? body.classList.contains("dark-mode") : system.matches;
  return dark ? "dark" : "light";
}

/** Sets the page's theme now and whenever it changes, and reports changes. */
export function follow(changed) {
  const root = document.documentElement;
  const apply = () => {
    if (root.dataset.theme === theme()) return;
    const first = root.dataset.theme === undefined;
    root.dataset.theme = theme();
    if (!first) changed();
  };
  apply();
  system.addEventListener("change", apply);
  const body = host();
  if (body) {
    new MutationObserver(apply).observe(body, {attributes: true, attributeFilter: ["class"]});
  }
}
