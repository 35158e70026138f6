"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A table is sorted by one column; what has no value stays last.
const value = cell => "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim().toLowerCase();
const missing = value => value === "" || value === "–";
const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en");
const sort = (header, order) => {
  const body = header.closest("table").tBodies[0], sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map(row => [value(row.cells[header.cellIndex]), row]);
  rows.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(a, b)));
  for (const one of header.parentElement.cells) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  body.append(...rows.map(([, row]) => row));
};

// A header's button sorts by its column, its better end first, and the other way round when it is pressed again.
for (const button of all(".sortable thead button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const [first, other] = header.dataset.first ? ["descending", "ascending"] : ["ascending", "descending"];
    sort(header, header.getAttribute("aria-sort") === first ? other : first);
    save();
  });
}

// The filters hide rows, their pictures, their series in figures, and tables of which nothing is left. Plots listen for
// the event `filtered`.
const bar = document.querySelector(".filters"), chips = all(".chips button");
const pressed = chip => chip.getAttribute("aria-pressed") === "true";
const shown = all(".table tbody tr, .filtered figure").map(one => [
  one, [one.dataset.method, ...(one.cells ? [one.cells[0], one.cells[1]] : [one]).map(part => part.textContent ?? "")]
    .join(" ").toLowerCase(),
]);
const filter = () => {
  const { place, words, ranked, pareto, count } = bar.elements;
  const wanted = words.value.toLowerCase().split(/\s+/), methods = chips.filter(pressed).map(chip => chip.value);
  for (const section of all("section")) section.hidden = place.value !== "" && section.id !== place.value;
  for (const folded of all("section:not([hidden]) > details.folded")) folded.open ||= place.value !== "";
  for (const [one, text] of shown) {
    one.hidden = (ranked.checked && !("ranked" in one.dataset)) || (pareto.checked && !("pareto" in one.dataset))
      || (methods.length > 0 && !methods.includes(one.dataset.method)) || !wanted.every(word => text.includes(word));
  }
  // A figure shows the series of the rows that are left; one that has none of them is hidden.
  for (const section of all("section")) {
    const left = new Set(all(".main tbody tr:not([hidden])", section).map(row => row.dataset.label));
    for (const figure of all(".drawn", section)) {
      const series = all("[data-label]", figure);
      for (const one of series) one.toggleAttribute("hidden", !left.has(one.dataset.label));
      figure.hidden = series.length > 0 && series.every(one => one.hasAttribute("hidden"));
    }
  }
  for (const box of all(".table")) box.hidden = !box.querySelector("tbody tr:not([hidden])");
  const rows = all("section:not([hidden]) .main tbody tr").filter(row => !row.closest("details:not([open])"));
  count.value = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  document.dispatchEvent(new Event("filtered"));
};

// What is chosen, filtered and sorted stands in the address, so that a link shows the same view. Only what differs from
// the page as it opens is written there. An address without = is that of a place on the page; if something is chosen,
// the view takes its place in the address.
const controls = () => all(".filters [name]:not(output), .plot select");
const chosen = control => control.type === "checkbox" ? String(control.checked) : control.value;
const tables = new Map(all("section").flatMap(
  section => all(".sortable", section).map((table, place) => [`${section.id}.${place}`, table])));
const defaults = new Map();
const save = () => {
  const view = new URLSearchParams();
  for (const one of controls()) if (chosen(one) !== defaults.get(one.name)) view.set(one.name, chosen(one));
  for (const chip of chips.filter(pressed)) view.append("method", chip.value);
  for (const [name, table] of tables) {
    const header = table.querySelector("[aria-sort]");
    if (header) view.set(name, `${header.getAttribute("aria-sort")} ${header.textContent}`);
  }
  if (view.size) history.replaceState(null, "", `#${view}`);
  else if (location.hash.includes("=")) history.replaceState(null, "", location.href.split("#")[0]);
};
const restore = () => {
  const view = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const one of controls()) {
    const text = view.get(one.name) ?? defaults.get(one.name);
    if (one.type === "checkbox") one.checked = text === "true";
    else one.value = text;
    if (one.selectedIndex === -1) one.value = defaults.get(one.name);  // it is no longer on the page
  }
  for (const chip of chips) chip.setAttribute("aria-pressed", view.getAll("method").includes(chip.value));
  for (const [name, table] of tables) {
    const [order, title] = (view.get(name) ?? "").split(/ (.*)/s);
    const header = [...table.tHead.rows[0].cells].find(one => one.textContent === title);
    if (header) sort(header, order);
  }
  filter();
};

// Every choice filters and is saved. A page that `report` is still watching reloads itself, unless somebody is reading
// a picture; the address keeps the view.
const begin = () => {
  for (const one of controls()) defaults.set(one.name, chosen(one));
  bar.hidden = false;
  bar.addEventListener("submit", event => event.preventDefault());
  document.addEventListener("input", () => { filter(); save(); });
  for (const chip of chips) {
    chip.addEventListener("click", () => { chip.setAttribute("aria-pressed", !pressed(chip)); filter(); save(); });
  }
  for (const folded of all("details.folded")) folded.addEventListener("toggle", filter);
  addEventListener("hashchange", () => location.hash.includes("=") ? restore() : save());
  restore();
  const { reload } = bar.elements;
  if (reload) setInterval(() => { if (reload.checked && !dialog.open) location.reload(); }, 1000 * reload.value);
};
if (bar) document.addEventListener("DOMContentLoaded", begin);  // when plots have filled their lists

// A long table shows its first rows, in the present order, until all are asked for.
for (const button of all(".more")) {
  button.addEventListener("click", () => {
    button.closest(".table").querySelector("table").classList.add("whole");
    button.remove();
  });
}

// Pictures, plots and charts are enlarged in one dialog, which Escape closes too.
const dialog = document.querySelector("dialog");
const enlarge = (title, content) => {
  dialog.setAttribute("aria-label", title);
  dialog.querySelector("span").textContent = title;
  dialog.querySelector("div").replaceChildren(content);
  dialog.showModal();
};
for (const button of all(".enlarge")) {
  const picture = button.firstElementChild;
  button.addEventListener("click", () => enlarge(button.ariaLabel ?? picture.alt, picture.cloneNode(true)));
}
// A plot or a chart itself moves to the dialog, and back when it is closed.
for (const button of all(".move")) {
  button.addEventListener("click", () => {
    const figure = button.closest("figure"), place = document.createComment("the figure is enlarged");
    figure.replaceWith(place);
    enlarge(button.dataset.title, figure);
    dialog.addEventListener("close", () => { place.replaceWith(figure); button.focus(); }, { once: true });
  });
}
dialog?.addEventListener("click", event => {
  if (event.target === dialog || event.target.closest("p button")) dialog.close();
});
