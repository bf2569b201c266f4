"use strict";
/* The page's behaviour: one filtered set of rows feeds three charts and the table. */
(function () {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const form = document.getElementById("filters");
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const lines = new Map([...table.tBodies].flatMap((part) => [...part.rows]).map((line) => [Number(line.dataset.row), line]));
  const page_lines = Number(table.dataset.pageLines);
  const pager = document.getElementById("pager");
  let order = [...lines.keys()]; /* of all rows, as sorted */
  let page = 0;
  let pointed = null;
  let winner = null; /* the row that the sliders choose */
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = {};
  const MOST_SVG = 400; /* points that are drawn as elements; more of them would be slow */

  function chosen(group) {
    return new Set([...form.querySelectorAll(`input[name="${group}"]:checked`)].map((box) => box.value));
  }

  function visible() {
    const groups = report.groups.map((group) => [group, chosen(group)]);
    const best = form.elements["best"].checked;
    return report.rows.filter(
      (row) => groups.every(([group, values]) => values.has(row[group])) && (!best || row.pareto)
    );
  }

  function plural(number, noun) {
    return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  }

  function left_out(rows, spec) {
    const lacks = (row, field) => row[field] === null;
    const invalid = rows.filter((row) => row.valid === false).length;
    const unmeasured = rows.filter((row) => row.valid === null).length;
    const others = rows.filter((row) => row.valid && spec.fields.some((field) => lacks(row, field))).length;
    const parts = [];
    if (unmeasured) parts.push(`${unmeasured} not measured`);
    if (invalid) parts.push(`${invalid} not valid`);
    if (others) parts.push(`${others} without ${spec.fields.includes("tflite_top1") ? "accuracy" : "size"}`);
    return { count: invalid + unmeasured + others, parts };
  }

  function caption(rows, spec) {
    const out = left_out(rows, spec);
    const shown = plural(rows.length - out.count, "point");
    return out.count ? `${shown}; not drawn: ${out.parts.join(", ")}` : shown;
  }

  function apply() {
    const rows = visible();
    page = 0;
    turn(rows);
    pick(rows);
    document.getElementById("count").textContent = `${rows.length.toLocaleString("en")} of ${plural(report.rows.length, "row")}`;
    form.querySelector(".reset").hidden = rows.length === report.rows.length;
    document.getElementById("empty").hidden = rows.length > 0;
    for (const spec of report.charts) {
      document.getElementById(`note-${spec.name}`).textContent = caption(of_machine(rows, spec), spec);
    }
    return Promise.all(report.charts.map((spec) => refill(spec, rows)));
  }

  /* Lays out one page of the table; the other lines wait outside the document. */
  function turn(rows) {
    const shown = new Set(rows.map((row) => row.row));
    const places = order.filter((index) => shown.has(index));
    const first = page * page_lines;
    body.replaceChildren(...places.slice(first, first + page_lines).map((index) => lines.get(index)));
    table.style.setProperty("--names", `${table.tHead.rows[0].cells[0].offsetWidth}px`);
    const last = Math.min(first + page_lines, places.length);
    pager.hidden = places.length <= page_lines;
    pager.querySelector("span").textContent = `${first + 1} to ${last} of ${plural(places.length, "row")}`;
    pager.querySelector(".previous").disabled = page === 0;
    pager.querySelector(".next").disabled = last === places.length;
  }

  function turn_by(pages) {
    page += pages;
    turn(visible());
    table.parentElement.scrollTop = 0;
  }

  function copies(rows) {
    return rows.map((row) => ({ ...row }));
  }

  /* As charts.py: from the smallest to the largest figure; of a single one, a range around it. */
  function domain(rows, fields) {
    const values = rows.flatMap((row) => fields.map((field) => row[field])).filter((value) => value !== null);
    if (!values.length) values.push(1);
    const [low, high] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    if (low < high) return [low, high];
    return low ? [low * 0.98, high * 1.02] : [-1, 1];
  }

  function of_machine(rows, spec) {
    return spec.machine === null ? rows : rows.filter((row) => row.machine_text === spec.machine);
  }

  /* The axes are those of all machines, so that their charts can be compared. */
  function refill(spec, rows) {
    const view = views[spec.name];
    if (!view) return null;
    const [x, y] = spec.fields;
    const placed = rows.filter((row) => row.drawn && row[x] !== null && row[y] !== null);
    const few = placed.length <= report.most_labels;
    const [x_ends, y_ends] = few ? spec.ends : [[], []];
    view.signal("x_domain", domain(placed, [x, ...x_ends])).signal("y_domain", domain(placed, [y, ...y_ends]));
    view.signal("chosen", winner ?? -1).signal("labelled", few);
    view.data("rows", copies(of_machine(rows, spec))).data("labels", []);
    return view.runAsync().then(() => few && view.data("labels", point_labels(view, of_machine(placed, spec), spec.fields)).runAsync());
  }

  function point_at(index) {
    if (pointed) pointed.classList.remove("pointed");
    pointed = lines.get(index) || null;
    if (pointed) pointed.classList.add("pointed");
    for (const view of Object.values(views)) view.signal("highlight", index).runAsync();
  }

  function choose(row) {
    if (winner !== null) lines.get(winner).classList.remove("chosen");
    winner = row ? row.row : null;
    if (winner !== null) lines.get(winner).classList.add("chosen");
    for (const view of Object.values(views)) view.signal("chosen", winner ?? -1).runAsync();
  }

  async function draw() {
    const config = dark.matches ? report.config.dark : report.config.light;
    for (const spec of report.charts) {
      if (views[spec.name]) views[spec.name].finalize();
      const place = document.getElementById(`chart-${spec.name}`);
      const full = { ...report.specs[spec.view], config, datasets: { rows: copies(of_machine(visible(), spec)), labels: [] } };
      const options = {
        renderer: report.rows.length > MOST_SVG ? "canvas" : "svg",
        downloadFileName: `report-${spec.name}`,
        actions: { export: true, source: false, compiled: false, editor: false },
      };
      const result = await vegaEmbed(place, full, options);
      views[spec.name] = result.view;
      await refill(spec, visible());
      result.view.addSignalListener("width", () => setTimeout(() => views[spec.name] === result.view && refill(spec, visible())));
      result.view.addEventListener("mouseover", (event, item) => {
        if (item && item.datum && item.datum.row !== undefined) point_at(item.datum.row);
      });
      result.view.addEventListener("mouseout", (event, item) => {
        if (item && item.datum && item.datum.row !== undefined) point_at(-1);
      });
    }
  }

  function compare(one, other) {
    return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  }

  function sort(header, column) {
    const now = header.getAttribute("aria-sort");
    const first = header.dataset.first;
    const direction = now === null ? first : now === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    order.sort((a, b) => {
      const [one, other] = [report.rows[a].keys[column], report.rows[b].keys[column]];
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * compare(one, other);
    });
    page = 0;
    turn(visible());
  }

  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  body.addEventListener("mouseover", (event) => {
    const line = event.target.closest("tr");
    if (line) point_at(Number(line.dataset.row));
  });
  body.addEventListener("mouseleave", () => point_at(-1));
  document.querySelectorAll("#rows thead th").forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => sort(header, column));
  });
  pager.querySelector(".previous").addEventListener("click", () => turn_by(-1));
  pager.querySelector(".next").addEventListener("click", () => turn_by(1));
  dark.addEventListener("change", draw);

  const pick = picker(report, choose);
  apply();
  window.report = { views, ready: draw() };
})();
