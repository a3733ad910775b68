// Requests to the server. A refusal becomes an Error with the server's sentence.

export const LIVE = true; // answers change while a study runs
const BASE = new URL("./", import.meta.url);

function address(route, parameters = {}) {
  const url = new URL(route, BASE);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}

/** The address of a picture. */
export async function picture(parameters) {
  return address("picture", parameters).href;
}

const BUSY = 503; // the study is still being read: of a long one its report is shown meanwhile
const PAUSE = 1000; // ms
const PATIENCE = 60; // times

export async function ask(route, parameters = {}, times = PATIENCE) {
  const answer = await fetch(address(route, parameters), {credentials: "same-origin"});
  if (answer.status === BUSY && times > 0) {
    await new Promise((wake) => setTimeout(wake, PAUSE));
    return ask(route, parameters, times - 1);
  }
  if (!answer.ok) {
    const error = new Error((await answer.text()).slice(0, 500));
    error.status = answer.status;
    throw error;
  }
  return answer.json();
}
