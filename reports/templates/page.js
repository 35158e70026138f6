"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A header's button sorts by its column, its better end first; what has no value stays last.
const value = cell => "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim().toLowerCase();
const missing = value => value === "" || value === "–";
const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en");
const sort = button => {
  const header = button.closest("th"), body = button.closest("table").tBodies[0];
  const [first, other] = header.dataset.first ? ["descending", "ascending"] : ["ascending", "descending"];
  const order = header.getAttribute("aria-sort") === first ? other : first, sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map(row => [value(row.cells[header.cellIndex]), row]);
  rows.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(a, b)));
  for (const one of header.parentElement.cells) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  body.append(...rows.map(([, row]) => row));
};
for (const button of all(".sortable thead button")) button.addEventListener("click", () => sort(button));

// The filters hide rows, their pictures, and tables of which nothing is left.
const bar = document.querySelector(".filters");
if (bar) {
  const { place, words, ranked, pareto, count } = bar.elements;
  const shown = all(".table tbody tr, .filtered figure").map(one => [
    one, [one.dataset.method, ...(one.cells ? [one.cells[0], one.cells[1]] : [one]).map(part => part.textContent ?? "")]
      .join(" ").toLowerCase(),
  ]);
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const section of all("section")) section.hidden = place.value !== "" && section.id !== place.value;
    for (const [one, text] of shown) {
      one.hidden = (ranked.checked && !("ranked" in one.dataset)) || (pareto.checked && !("pareto" in one.dataset))
        || !wanted.every(word => text.includes(word));
    }
    for (const box of all(".table")) box.hidden = !box.querySelector("tbody tr:not([hidden])");
    const rows = all("section:not([hidden]) .main tbody tr"), left = rows.filter(row => !row.hidden).length;
    count.value = `${left} of ${rows.length} rows`;
  };
  bar.hidden = false;
  bar.addEventListener("input", filter);
  bar.addEventListener("submit", event => event.preventDefault());
  filter();  // a browser may have kept what was typed
}

// A long table shows its first rows, in the present order, until all are asked for.
for (const button of all(".more")) {
  button.addEventListener("click", () => {
    button.closest(".table").querySelector("table").classList.add("whole");
    button.remove();
  });
}

// Pictures are enlarged in one dialog, which Escape closes too.
const dialog = document.querySelector("dialog");
for (const button of all(".enlarge")) {
  button.addEventListener("click", () => {
    const small = button.firstElementChild, large = dialog.querySelector("img");
    [large.src, large.alt] = [small.src, small.alt];
    dialog.querySelector("span").textContent = small.alt;
    dialog.showModal();
  });
}
dialog?.addEventListener("click", event => {
  if (event.target === dialog || event.target.closest("button")) dialog.close();
});
