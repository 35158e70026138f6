// A plot of one score against another for each section. Its points are the ranked rows of the main table; its axes are
// the columns of all tables of the section, from whose cells it takes the values.
const WORSE = 20;  // an axis is logarithmic if its values are positive and differ by a larger factor
const MOST = 60;  // so many points at most have labels
const SPACE = { left: 64, right: 16, top: 12, bottom: 48 };

const draw_as = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, text] of Object.entries(attributes)) element.setAttribute(key, text);
  element.append(...children);
  return element;
};

// The columns that at least two ranked rows have a value of, by the titles of their table and header.
const columns_of = section => {
  const columns = new Map();
  for (const header of all(".sortable th[data-axis]", section)) {
    const table = header.closest("table"), cells = new Map();
    for (const row of all("tr[data-ranked]", table)) {
      const cell = row.cells[header.cellIndex];
      if ("value" in cell.dataset) cells.set(row.dataset.series, cell);
    }
    const short = header.textContent, better = short.includes("↑") ? 1 : short.includes("↓") ? -1 : 0;
    const group = table.dataset.title, name = `${group}: ${short}`, title = table.closest(".main") ? short : name;
    if (cells.size > 1) columns.set(name, { group, short, title, better, cells });
  }
  return columns;
};

// A scale from values to pixels, whose better end is at `end`, with its ticks.
const scale = (values, better, start, end) => {
  const least = Math.min(...values), most = Math.max(...values), log = least > 0 && most > WORSE * least;
  const [to, from] = log ? [Math.log10, exponent => 10 ** exponent] : [Number, Number];
  const margin = 0.07 * (to(most) - to(least)) || 1, low = to(least) - margin, high = to(most) + margin;
  const part = value => (to(value) - low) / (high - low);
  const place = value => start + (end - start) * (better < 0 ? 1 - part(value) : part(value));
  // Choose round ticks: 1, 2 and 5 of each power of ten, or about five equal steps.
  const unit = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = unit * [1, 2, 5, 10].find(factor => (high - low) / (unit * factor) <= 6);
  const ticks = [];
  if (log) {
    const digits = high - low > 2.5 ? [1] : [1, 2, 5];
    for (let power = Math.floor(low); power < high; power++) ticks.push(...digits.map(digit => digit * 10 ** power));
  } else {
    for (let number = Math.ceil(low / step); number * step < high; number++) ticks.push(number * step + 0);  // not -0
  }
  const inside = ticks.filter(tick => to(tick) >= low && to(tick) <= high);
  return { place, ticks: inside.map(tick => [place(tick), tick.toLocaleString("en", { maximumSignificantDigits: 6 })]) };
};

// The points that no other point beats in both scores, from the best in the first to the best in the second.
const front_of = (points, x, y) => {
  const front = [];
  for (const point of [...points].sort((a, b) => x.better * (b.x - a.x) || y.better * (b.y - a.y))) {
    if (!front.length || y.better * (point.y - front.at(-1).y) > 0) front.push(point);
  }
  return front;
};

const make_plot = plot => {
  const section = plot.closest("section"), columns = columns_of(section), [high, wide] = all("select", plot);
  const canvas = plot.querySelector("svg"), told = plot.querySelector(".told");
  if (columns.size < 2) return;
  plot.hidden = false;
  // Fill both lists; begin with robust accuracy against distance, as the tables do.
  for (const list of [high, wide]) {
    for (const [name, { group, short }] of columns) {
      let place = [...list.children].find(one => one.label === group);
      if (!place) list.append(place = Object.assign(document.createElement("optgroup"), { label: group }));
      place.append(new Option(short, name));
    }
  }
  const names = [...columns.keys()], begin = start => names.find(name => columns.get(name).title.match(start));
  high.value = begin(/^Robust accuracy/) ?? names[0];
  wide.value = begin(/^(FD|FID)/) ?? names.find(name => name !== high.value);

  // Tell of a point beside the plot: its samples, its values, and the pages of its runs.
  const tell = (point, mark) => {
    for (const one of all(".point", canvas)) one.classList.toggle("current", one === mark);
    const picture = all("figure[data-series] img", section)
      .find(one => one.closest("figure").dataset.series === point.row.dataset.series)?.cloneNode();
    const name = document.createElement("strong"), list = document.createElement("dl");
    name.textContent = point.row.dataset.label;
    for (const [title, text] of point.values) {
      const [term, number] = [document.createElement("dt"), document.createElement("dd")];
      [term.textContent, number.textContent] = [title, text];
      list.append(term, number);
    }
    const links = all(".runs a", point.row).map(link => link.cloneNode(true));
    told.replaceChildren(...[picture, name, list, ...links].filter(Boolean));
  };

  const draw = () => {
    const { width, height } = canvas.getBoundingClientRect(), x = columns.get(wide.value), y = columns.get(high.value);
    if (!width) return;
    // Points in the order of the better end of the horizontal axis, which arrow keys follow.
    const points = all(".main tr[data-ranked]", section).flatMap(row => {
      const cells = [y, x].map(column => column.cells.get(row.dataset.series));
      if (!cells.every(Boolean)) return [];
      const values = [y, x].map(({ title }, place) => [title, cells[place].textContent.trim()]);
      return [{ row, values, y: Number(cells[0].dataset.value), x: Number(cells[1].dataset.value) }];
    }).sort((a, b) => (x.better || 1) * (a.x - b.x));
    const across = scale(points.map(point => point.x), x.better, SPACE.left, width - SPACE.right);
    const up = scale(points.map(point => point.y), y.better, height - SPACE.bottom, SPACE.top);
    const visible = points.filter(point => !point.row.hidden);
    // Draw the axes: lines at the ticks, their numbers, and titles.
    const name = column => column.title + (column.better ? "  (better →)" : "");
    const axes = draw_as("g", { class: "axes", "aria-hidden": true },
      ...across.ticks.flatMap(([at, text]) => [
        draw_as("path", { d: `M${at} ${SPACE.top}V${height - SPACE.bottom}` }),
        draw_as("text", { x: at, y: height - SPACE.bottom + 18, "text-anchor": "middle" }, text)]),
      ...up.ticks.flatMap(([at, text]) => [
        draw_as("path", { d: `M${SPACE.left} ${at}H${width - SPACE.right}` }),
        draw_as("text", { x: SPACE.left - 6, y: at + 4, "text-anchor": "end" }, text)]),
      draw_as("text", { x: (SPACE.left + width) / 2, y: height - 8, "text-anchor": "middle" }, name(x)),
      draw_as("text", { transform: `translate(14 ${(height - SPACE.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
        name(y)));
    // Draw the Pareto front of what is shown, if both scores have a better end.
    const front = x.better && y.better ? front_of(visible, x, y) : [];
    const line = front.map(point => `${across.place(point.x)},${up.place(point.y)}`).join(" ");
    // Draw the points; those that are filtered away fade. A label stands where it covers no point and no other label, at
    // the right or the left of its point, or is left out.
    const taken = points.map(point => ({ from: across.place(point.x) - 8, long: 16, top: up.place(point.y) }));
    const free = (from, long, top) => visible.length <= MOST && from > SPACE.left && from + long < width && taken.every(
      other => Math.abs(other.top - top) > 13 || from > other.from + other.long || from + long < other.from);
    const marks = points.map(point => {
      const { row } = point, left = across.place(point.x), top = up.place(point.y);
      const circle = draw_as("circle", { cx: left, cy: top, r: 6, fill: row.dataset.colour });
      if (row.hidden) return draw_as("g", { class: "faded", "aria-hidden": true }, circle);
      const said = `${row.dataset.label}: ${point.values.map(pair => pair.join(" ")).join("; ")}`;
      const mark = draw_as("g", { class: "point", role: "img", "aria-label": said, tabindex: -1 },
        draw_as("circle", { cx: left, cy: top, r: 11, class: "halo" }), circle);
      const label = row.dataset.label.length > 24 ? `${row.dataset.label.slice(0, 23)}…` : row.dataset.label;
      const long = 7 * label.length, from = [left + 14, left - 14 - long].find(from => free(from, long, top));
      if (from !== undefined) {
        const [at, anchor] = from > left ? [from, "start"] : [from + long, "end"];
        mark.append(draw_as("text", { x: at, y: top + 4, "text-anchor": anchor }, label));
        taken.push({ from, long, top });
      }
      for (const event of ["pointerenter", "focus", "click"]) mark.addEventListener(event, () => tell(point, mark));
      return mark;
    });
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.setAttribute("aria-label", `${y.title} against ${x.title}, ${visible.length} points; arrow keys move along`);
    canvas.replaceChildren(axes, draw_as("polyline", { class: "front", points: line }), ...marks);
    canvas.querySelector(".point")?.setAttribute("tabindex", 0);
    told.replaceChildren(told.dataset.hint);
  };

  // The tab key reaches one point, arrow keys reach the others.
  canvas.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const marks = all(".point", canvas), next = marks[marks.indexOf(document.activeElement) + step];
    if (step) event.preventDefault();
    if (!next) return;
    for (const mark of marks) mark.setAttribute("tabindex", mark === next ? 0 : -1);
    next.focus();
  });
  // Draw again when the filter or the size changes, as in the dialog.
  document.addEventListener("filtered", draw);
  new ResizeObserver(draw).observe(canvas);
};
for (const plot of all(".plot")) make_plot(plot);

// A chart on the page of a run tells the value at the pointer, or at the point that arrow keys reach.
for (const chart of all(".charts svg")) {
  const points = chart.querySelector("polyline").getAttribute("points").split(" ").map(pair => pair.split(","));
  const values = chart.dataset.values.split(" "), dot = chart.querySelector("circle");
  const told = chart.parentElement.querySelector("output");
  let current = points.length;
  const tell = place => {
    current = Math.max(0, Math.min(points.length - 1, place));
    const [images, value] = values[current].split(":");
    told.value = `${value} at ${Number(images).toLocaleString("en")} images`;
    dot.setAttribute("visibility", "visible");
    dot.setAttribute("cx", points[current][0]);
    dot.setAttribute("cy", points[current][1]);
  };
  chart.addEventListener("pointermove", event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(dot.getScreenCTM().inverse()).x;
    const far = points.map(([x]) => Math.abs(x - at));
    tell(far.indexOf(Math.min(...far)));
  });
  chart.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) tell(current + step);
  });
}
