"use strict";
const table = document.getElementById("pairs"), body = table.tBodies[0], spoken = document.getElementById("spoken");
const headings = [...table.tHead.rows[0].cells];

// Narrow windows show no headings: every number carries its own.
for (const row of body.rows)
  for (const cell of row.querySelectorAll("td.number")) cell.dataset.title = headings[cell.cellIndex].textContent;

function compare(one, other) {
  if (one === "" || other === "") return one === other ? 0 : one === "" ? 1 : -1; // what is not known comes last, either way
  const numbers = [Number(one), Number(other)];
  return numbers.some(Number.isNaN) ? one.localeCompare(other, undefined, { numeric: true }) : numbers[0] - numbers[1];
}

function sort(heading) {
  const column = headings.indexOf(heading), up = heading.getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((one, other) => {
    const order = compare(value(one), value(other));
    return value(one) === "" || value(other) === "" || up ? order : -order;
  });
  for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
  spoken.textContent = `Sorted by ${heading.textContent}, ${up ? "smallest" : "largest"} first`;
}

for (const heading of headings) heading.querySelector("button")?.addEventListener("click", () => sort(heading));

const counts = [...document.querySelectorAll(".count")];
function show(chosen) {
  for (const count of counts) count.setAttribute("aria-pressed", String(count === chosen));
  for (const row of body.rows) row.hidden = chosen !== null && row.dataset.word !== chosen.dataset.word;
  spoken.textContent = chosen === null ? "All pairs" : `Only: ${chosen.textContent}`;
}
for (const count of counts)
  count.addEventListener("click", () => show(count.getAttribute("aria-pressed") === "true" ? null : count));

// A dot leads to a row that may be left out.
window.addEventListener("hashchange", () => {
  if (document.querySelector(":target")?.hidden) show(null);
  document.querySelector(":target")?.scrollIntoView({ block: "center" });
});
