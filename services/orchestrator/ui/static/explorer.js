// Keys: j and k (or arrows on a record) between records, / for the search field.

const links = [...document.querySelectorAll("a[data-record]")];
const search = document.querySelector("input[type=search]");

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

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const onRecord = links.includes(document.activeElement);
  const by = { j: 1, k: -1, ...(onRecord && { ArrowDown: 1, ArrowUp: -1 }) }[event.key];
  if (by && step(by)) event.preventDefault();
  if (event.key === "/" && search) {
    search.focus();
    event.preventDefault();
  }
});
