// Keys: j and k (or arrows on a record) between records, / for the search field; a, c, r and s
// review the record of the page, or the one in focus in a list. They can be turned off: who dictates
// would press them by speaking (WCAG 2.1.4).

const OFF = "keys-off";
const VERDICTS = { a: "accept", r: "reject", s: "skip" };
const links = [...document.querySelectorAll("a[data-record]")];
const search = document.querySelector("input[type=search]");
const correction = document.querySelector("#correction");
const hint = document.querySelector(".keys");

function step(by) {
  const at = links.indexOf(document.activeElement);
  const next = links[at === -1 && by < 0 ? links.length - 1 : at + by];
  if (next) {
    next.focus();
    next.closest("li").scrollIntoView({ block: "nearest" });
    return true;
  }
  const other = document.querySelector(`a[rel=${by > 0 ? "next" : "prev"}]`);
  if (other) other.click();
  return Boolean(other);
}

function review(key) {
  const record = links.length ? document.activeElement.closest("li.record") : document;
  if (!record) return false;
  const target =
    key === "c"
      ? correction || record.querySelector("a[data-correct]")
      : record.querySelector(`form[data-review] button[value=${VERDICTS[key]}]`);
  if (target === correction) target?.focus();
  else target?.click();
  return Boolean(target);
}

// The record of a list that was just reviewed stays in focus. Browsers take the focus to the
// address's fragment while they load.
addEventListener("load", () => {
  const named = document.getElementById(location.hash.slice(1));
  named?.querySelector("a[data-record]")?.focus();
});

// A browser that keeps nothing for pages has no storage: keys are on, and off for this page alone.
function keep(value) {
  try {
    if (value !== undefined) localStorage.setItem(OFF, value);
    return localStorage.getItem(OFF) === "1";
  } catch {
    return value === "1";
  }
}

let areOff = keep();

if (hint) {
  const button = document.createElement("button");
  button.type = "button";
  const name = () => (button.textContent = areOff ? "Turn keys on" : "Turn keys off");
  button.addEventListener("click", () => {
    areOff = keep(areOff ? "0" : "1");
    name();
  });
  name();
  hint.append(" ", button);
}

document.addEventListener("keydown", (event) => {
  if (areOff) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key in VERDICTS) return;
  if (event.target.closest("input, select, textarea")) return;
  const onRecord = links.includes(document.activeElement);
  const by = { j: 1, k: -1, ...(onRecord && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
  if (by && step(by)) event.preventDefault();
  if ((event.key === "c" || event.key in VERDICTS) && review(event.key)) event.preventDefault();
  if (event.key === "/" && search) {
    search.focus();
    event.preventDefault();
  }
});
