// Renews the page of a run at work when the explorer says that it has changed.

const live = document.querySelector("[data-events]");
const source = new EventSource(live.dataset.events);

async function renew() {
  const response = await fetch(location.href).catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("[data-events]");
  if (!fresh) return;
  const focused = live.contains(document.activeElement) && document.activeElement.href;
  live.replaceChildren(...fresh.childNodes);
  if (focused) [...live.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
}

source.addEventListener("message", renew);
source.addEventListener("ended", () => {
  source.close();
  renew();
});
