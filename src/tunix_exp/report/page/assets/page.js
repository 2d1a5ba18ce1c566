
"use strict";

// What lies packed in the page: base64 of gzip.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// An element with text or elements in it; text is never read as markup.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function number(value) {
  if (value === undefined || value === null) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  return size < 1e-3 ? value.toExponential(2) : value.toPrecision(4);
}

function theme() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"];
  let chosen = names[0];
  try {
    chosen = localStorage.getItem("tunix_exp theme") ?? chosen;
  } catch {
    // a browser that keeps nothing for a local file asks the system each time
  }
  function show() {
    document.documentElement.dataset.theme = chosen;
    button.textContent = `Theme: ${chosen}`;
  }
  button.addEventListener("click", () => {
    chosen = names[(names.indexOf(chosen) + 1) % names.length];
    show();
    try {
      localStorage.setItem("tunix_exp theme", chosen);
    } catch {
      // as above
    }
  });
  show();
}

function copying() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      getSelection().selectAllChildren(text);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected";
      }
    });
  }
}

function configuration() {
  const only = document.getElementById("only-changed");
  only?.addEventListener("change", () => {
    document.getElementById("tree").classList.toggle("only-changed", only.checked);
  });
}

async function start() {
  theme();
  copying();
  configuration();
  sorting();
  const data = JSON.parse(await unpacked("data"));
  if (data.predictions?.length) predictions(data.predictions);
  if (data.charts?.length || data.runs?.length || data.swept?.length) {
    document.head.append(element("script", {}, await unpacked("library")));
    if (data.charts) await curves(data.charts, data.series);
    if (data.runs?.length) await overlay(data);
    if (data.swept) await swept(data.swept);
  }
  document.documentElement.dataset.drawn = "yes";
}

document.addEventListener("DOMContentLoaded", start);
