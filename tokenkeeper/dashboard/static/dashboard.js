// Fills the page with newer texts. The server makes all words; this puts them where the markup says:
// data-text names the text of an element, data-set pairs of attribute and text. Nothing is ever
// parsed as HTML.

const root = document.documentElement;
const source = new URL("data.json", document.baseURI);
const longest = 2 ** 31 - 1; // setTimeout takes more for 0
const pause = Math.min(Number(root.dataset.refresh) * 1000, longest);
const table = document.querySelector("table");
const blank = document.querySelector("#record").content.firstElementChild;
const input = document.querySelector(".filter input");
const unmatched = document.querySelector(".unmatched");
const connection = document.querySelector(".connection");
let timer = 0;

function fill(element, texts) {
  const names = element.dataset?.text;
  if (names in texts && element.textContent !== texts[names]) element.textContent = texts[names];
  for (const pair of (element.dataset?.set ?? "").split(" ").filter(Boolean)) {
    const [attribute, name] = pair.split("=");
    if (name in texts && element.getAttribute(attribute) !== texts[name])
      element.setAttribute(attribute, texts[name]);
  }
}

function fillAll(top, texts, without = "nothing") {
  fill(top, texts);
  for (const element of top.querySelectorAll("[data-text], [data-set]"))
    if (!element.closest(without)) fill(element, texts);
}

function show({ page, records }) {
  fillAll(document, page, "tbody");
  const bodies = [...table.tBodies];
  const old = new Map(bodies.map((body) => [body.dataset.key, body]));
  const kept = new Set();
  let place = table.tHead.nextElementSibling;
  for (const texts of records) {
    const body = old.get(texts.key) ?? blank.cloneNode(true);
    old.delete(texts.key);
    kept.add(body);
    fillAll(body, texts);
    if (body === place) place = place.nextElementSibling;
    else table.insertBefore(body, place);
  }
  for (const body of bodies) if (!kept.has(body)) body.remove(); // keys may look alike
  filter();
}

function filter() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const body of table.tBodies) {
    const text = `${body.textContent} ${body.className}`.toLowerCase();
    body.hidden = !words.every((word) => text.includes(word));
    shown += body.hidden ? 0 : 1;
  }
  unmatched.hidden = shown > 0 || table.tBodies.length === 0;
}

function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
  root.classList.toggle("disconnected", text !== "");
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return; // it continues once the tab is seen again
  try {
    const response = await fetch(source, {
      cache: "no-store",
      redirect: "error", // such as the one to a login
      signal: AbortSignal.timeout(15000),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    show((await response.json()).shown);
    say("");
  } catch {
    say("The dashboard does not answer. Reload the page if you were signed out.");
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, pause);
}

input.addEventListener("input", filter);
input.parentElement.hidden = false;
document.addEventListener("visibilitychange", refresh);
filter();
refresh();
