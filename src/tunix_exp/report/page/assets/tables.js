
// A click on a heading sorts by that column, a second one the other way round; cells without a value stay last.
function sorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button")?.addEventListener("click", () => {
        const isDescending = heading.getAttribute("aria-sort") === "ascending"
          || (heading.classList.contains("num") && !heading.hasAttribute("aria-sort"));
        for (const other of headings) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
        const rows = [...body.rows];
        rows.sort((one, two) => compared(one.cells[column], two.cells[column], isDescending ? -1 : 1));
        body.append(...rows);
      });
    });
  }
}

function compared(one, two, sign) {
  const [left, right] = [one.dataset.value ?? one.textContent, two.dataset.value ?? two.textContent];
  if (left === "" || right === "") return (left === "") - (right === "");
  const [x, y] = [Number(left), Number(right)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * left.localeCompare(right, "en", { numeric: true });
}
