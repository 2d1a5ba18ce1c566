
const AT_ONCE = 20;
const LONG = 320;
const OUTCOMES = {
  to_right: "▲ wrong → right", to_wrong: "▼ right → wrong", both_right: "✓ both right",
  both_wrong: "✗ both wrong", right: "✓ right", wrong: "✗ wrong",
};

// The table of answers: filtered by outcome, group and words, a page of rows at a time.
function predictions(items) {
  const form = document.querySelector(".filters");
  const [earlier, later] = ["earlier", "later"].map((id) => document.getElementById(id));
  const texts = items.map((item) =>
    [item.id, item.prompt, item.expected, item.base.output, item.trained?.output ?? ""].join("\n").toLowerCase());
  let found = [];
  let first = 0;

  function filter() {
    const asked = new FormData(form);
    const words = asked.get("search").trim().toLowerCase();
    found = items.filter((item, place) =>
      ["outcome", "section", "category", "difficulty"].every((key) => !asked.get(key) || item[key] === asked.get(key))
      && texts[place].includes(words));
    show(0);
  }

  function show(from) {
    first = from;
    const words = form.elements.search.value.trim();
    const shown = found.slice(first, first + AT_ONCE);
    document.getElementById("rows").replaceChildren(...shown.map((item) => row(item, words)));
    document.getElementById("found").textContent = found.length === 0
      ? "No item matches."
      : `${(first + 1).toLocaleString("en-US")}–${(first + shown.length).toLocaleString("en-US")} of ${found.length.toLocaleString("en-US")} items`;
    earlier.disabled = first === 0;
    later.disabled = first + AT_ONCE >= found.length;
  }

  function turn(by) {
    show(first + by);
    document.getElementById("found").scrollIntoView({ block: "start" });
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  earlier.addEventListener("click", () => turn(-AT_ONCE));
  later.addEventListener("click", () => turn(AT_ONCE));
  filter();
}

function row(item, words) {
  const tags = ["section", "category", "difficulty"].map((key) => item[key]).filter((name) => name !== null);
  const made = element("div", { role: "row", class: item.trained ? "row" : "row two" },
    element("div", { role: "rowheader", class: "cell item" },
      element("div", {}, ...marked(item.id, words)),
      element("div", {}, element("span", { class: `badge ${item.outcome}` }, OUTCOMES[item.outcome])),
      element("div", { class: "tags" }, tags.join(" · "))),
    cell("Prompt", text("prompt", item.prompt, words)),
    cell("Expected", text("answer", item.expected, words)),
    cell("Base", ...answer(item.base, words)));
  if (item.trained) made.append(cell("Trained", ...answer(item.trained, words)));
  return made;
}

function cell(label, ...children) {
  return element("div", { role: "cell", class: "cell" }, element("i", { class: "label" }, label), ...children);
}

function answer(one, words) {
  const mark = one.correct ? "✓" : "✗";
  const says = one.extracted === null ? `${mark} no answer found` : `${mark} ${one.extracted}`;
  const length = one.cut ? `, cut at ${one.tokens} tokens` : "";
  const shown = [
    text("answer", one.output, words),
    element("div", { class: `scored ${one.correct ? "right" : "wrong"}` }, says + length),
  ];
  return one.class ? [...shown, element("div", { class: "tags" }, one.class)] : shown;
}

// Line ends that begin or end a text or follow one another as signs, and control characters as their pictures:
// what a model wrote can be seen, and thirty empty lines take one.
function visible(words) {
  return words
    .replace(/^\n+|\n+$|\n{3,}/g, (ends, at) => {
      const signs = ends.length > 4 ? `↵ × ${ends.length}` : "↵".repeat(ends.length);
      return signs + (at + ends.length < words.length ? "\n" : "");
    })
    .replace(/[\0-\x08\x0b-\x1f]/g, (sign) => String.fromCharCode(0x2400 + sign.charCodeAt(0)));
}

// Long text is clipped until its button is pressed.
function text(kind, written, searched) {
  const words = visible(written);
  const body = element("div", { class: kind }, ...(words === "" ? ["(empty)"] : marked(words, searched)));
  if (words.length <= LONG && words.split("\n").length <= 8) return body;
  body.classList.add("clipped");
  const more = element("button", { type: "button", class: "quiet more", "aria-expanded": "false" }, "Show all");
  more.addEventListener("click", () => {
    const isClipped = body.classList.toggle("clipped");
    more.setAttribute("aria-expanded", String(!isClipped));
    more.textContent = isClipped ? "Show all" : "Show less";
  });
  return element("div", {}, body, more);
}

// `words` as text, with every place of `searched` marked.
function marked(words, searched) {
  if (searched === "") return [words];
  const [lower, wanted] = [words.toLowerCase(), searched.toLowerCase()];
  if (lower.length !== words.length) return [words]; // a letter that grows when lowered: places would not fit
  const parts = [];
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(words.slice(from, at), element("mark", {}, words.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  return [...parts, words.slice(from)];
}
