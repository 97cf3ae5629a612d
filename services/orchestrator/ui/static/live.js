// Renews the page of a run at work when the explorer says that it has changed. If the explorer has
// no place for another stream of events, the page asks by itself, from time to time.

const POLL_MS = 30000;
const live = document.querySelector("[data-events]");
const source = new EventSource(live.dataset.events);

async function renew() {
  const response = await fetch(location.href).catch(() => null);
  if (response?.status === 404) {
    live.querySelector(".lead").textContent = "This run is no longer there.";
    return;
  }
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("[data-events]");
  if (!fresh) return;
  const focused = live.contains(document.activeElement) && name(document.activeElement);
  live.replaceChildren(...fresh.childNodes);
  if (focused) {
    const operable = [...live.querySelectorAll("a, [tabindex]")];
    operable.find((element) => name(element) === focused)?.focus();
  }
}

function name(element) {
  return element.href ?? element.getAttribute("aria-label");
}

async function poll() {
  await renew();
  if (live.querySelector("#stages")) setTimeout(poll, POLL_MS);
}

source.addEventListener("message", renew);
source.addEventListener("ended", () => {
  source.close();
  renew();
});
// A refused stream is closed; one that broke off is opened again by the browser.
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) setTimeout(poll, POLL_MS);
});
