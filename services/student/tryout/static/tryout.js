// The page without reloading: drop, paste and photograph an image; ask; judge answers.
// The key stays in this tab (sessionStorage). Texts of models are set as text, never as markup.

const $ = (id) => document.getElementById(id);
const TITLES = { live: "Live version", candidate: "Candidate", teacher: "Teacher" };
const SENTENCES = { KEY_MISSING: "This service needs a key: enter it above, and ask again." };
const KEY = "mpa-key";
let shownUrl = "";
let asking = null;

$("paste-hint").hidden = false;
$("camera-label").hidden = false;
if (sessionStorage.getItem(KEY)) showKey();

function showKey() {
  $("key-box").hidden = false;
  $("key").value = sessionStorage.getItem(KEY) ?? "";
}

function preview(file) {
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = file ? URL.createObjectURL(file) : "";
  $("preview").hidden = !file;
  if (file) $("preview").querySelector("img").src = shownUrl;
}

function take(files) {
  const file = [...files].find((each) => each.type.startsWith("image/"));
  if (!file) return false;
  const chosen = new DataTransfer();
  chosen.items.add(file);
  $("image").files = chosen.files;
  preview(file);
  $("progress").textContent = `${file.name || "The image"} is chosen.`;
  return true;
}

$("image").addEventListener("change", () => preview($("image").files[0]));
$("camera").addEventListener("change", () => take($("camera").files));
$("preview").querySelector("img").addEventListener("error", () => preview(null));

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  if (!take(event.dataTransfer.files)) $("progress").textContent = "That is no image.";
});
document.addEventListener("paste", (event) => {
  if (take(event.clipboardData?.files ?? [])) event.preventDefault();
});

$("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, $("key").value.trim());
});
$("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("ask").requestSubmit();
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  $("key").value = "";
  $("key").focus();
});

async function send(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { method: "POST", body, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service can't be reached, or the key has signs that no key has.");
  }
  const document_ = await response.json().catch(() => null);
  if (response.ok && document_) return document_;
  const { reason, message } = document_?.error ?? {};
  const refused = new Error(SENTENCES[reason] ?? message ?? `The service replied ${response.status}.`);
  refused.needsKey = response.status === 401 || reason === "ROLE_MISSING";
  throw refused;
}

function askForKey() {
  showKey();
  $("key").focus();
}

function column(model) {
  const made = $("column").content.cloneNode(true).querySelector("article");
  field(made, "title").textContent = TITLES[model] ?? model;
  field(made, "status").textContent = "Asking …";
  made.querySelector("form").hidden = true;
  $("columns").append(made);
  return made;
}

function field(made, name) {
  return made.querySelector(`[data-field=${name}]`);
}

function fill(made, opinion) {
  field(made, "said").textContent = opinion.trouble || opinion.answer;
  field(made, "version").textContent = opinion.version;
  field(made, "time").textContent = `${opinion.seconds.toFixed(2)} s`;
  const { logprob, probability } = opinion;
  field(made, "logprob").textContent =
    logprob === null ? "unknown" : `${logprob.toFixed(3)} (${(100 * probability).toFixed(1)} %)`;
  field(made, "facts").hidden = Boolean(opinion.trouble);
  field(made, "cut").hidden = !opinion.is_cut_off;
  field(made, "status").textContent = "";
  const thumbs = made.querySelector("form");
  thumbs.hidden = !opinion.judged_as;
  thumbs.elements.answer.value = opinion.judged_as;
}

async function ask(model, image, question, signal) {
  const form = new FormData();
  form.append("image", image);
  form.append("question", question);
  form.append("model", model);
  return send("/try/answers", form, signal);
}

async function askOther(model, image, question, signal) {
  const made = column(model);
  try {
    fill(made, (await ask(model, image, question, signal)).answers[0]);
  } catch (error) {
    if (error.name === "AbortError") return;
    field(made, "said").textContent = error.message;
    field(made, "status").textContent = "";
  }
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const image = $("image").files[0];
  const question = $("question").value;
  if (!image) return;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  $("progress").textContent = "Asking …";
  try {
    const first = await ask("live", image, question, signal);
    $("columns").replaceChildren();
    $("answers").hidden = false;
    $("asked").textContent = question;
    fill(column("live"), first.answers[0]);
    $("progress").textContent = `The live version says: ${first.answers[0].answer}`;
    const others = first.models.filter((model) => model !== "live");
    await Promise.all(others.map((model) => askOther(model, image, question, signal)));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("progress").textContent = error.message;
    if (error.needsKey) askForKey();
  }
});

document.addEventListener("submit", async (event) => {
  if (!event.target.matches(".thumbs")) return;
  event.preventDefault();
  const form = event.target;
  const verdict = event.submitter.value;
  const status = field(form.closest("article"), "status");
  const body = new URLSearchParams({ answer: form.elements.answer.value, verdict });
  try {
    await send("/try/verdicts", body);
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    status.tabIndex = -1;
    status.focus();
    status.textContent = `Kept as ${verdict === "up" ? "right" : "wrong"}, for the next round.`;
  } catch (error) {
    status.textContent = error.message;
    if (error.needsKey) askForKey();
  }
});
