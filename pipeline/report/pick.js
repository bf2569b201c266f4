"use strict";
/* The sliders: the most accurate file within the limits, and of those that the images cannot tell from it the
   one of least size times latency.
   `told(row)` is called with the row that is chosen, or null. Returns what takes the rows that pass the filters. */
function picker(report, told) {
  const section = document.getElementById("pick");
  const form = section.querySelector("form");
  const select = form.elements["setting"];
  const answer = document.getElementById("picked");
  const AT_MOST = ["median_ms", "size_mb"];
  const NAMES = [...AT_MOST, "tflite_top1"];
  const UNITS = { median_ms: "ms", size_mb: "MB", tflite_top1: "%" };
  const rivals = report.rows.filter((row) => row.setting >= 0);
  let steps = {}; /* of each slider: the figures that its places stand for */
  let passing = rivals;

  function number(value) {
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.01 || !value ? value.toFixed(2) : value.toPrecision(2);
  }

  function of_setting() {
    return rivals.filter((row) => row.setting === Number(select.value));
  }

  /* A place of a slider for each figure, and one without a limit. */
  function set_up() {
    const rows = of_setting();
    for (const name of NAMES) {
      const values = [...new Set(rows.map((row) => row[name]))].sort((one, other) => one - other);
      steps[name] = AT_MOST.includes(name) ? [...values, Infinity] : [-Infinity, ...values];
      const slider = form.elements[name];
      slider.min = 0;
      slider.max = steps[name].length - 1;
      slider.value = AT_MOST.includes(name) ? slider.max : 0;
    }
    pick();
  }

  function limits() {
    return Object.fromEntries(NAMES.map((name) => [name, steps[name][Number(form.elements[name].value)]]));
  }

  function excess(row, limit) {
    return NAMES.map((name) => (AT_MOST.includes(name) ? row[name] / limit[name] : limit[name] / Math.max(row[name], 1e-9)))
      .reduce((sum, share) => sum + Math.max(0, Number.isFinite(share) ? share - 1 : 0), 0);
  }

  /* As store/pareto.py: whether one is more accurate than the images leave to chance. */
  function is_better(one, other) {
    const share = (row) => row.tflite_top1 / 100;
    let variance = share(one) * (1 - share(one)) + share(other) * (1 - share(other));
    if (one.parent >= 0 && one.parent === other.parent && one.agreement !== null && other.agreement !== null) {
      variance = Math.min(variance, 2 - (one.agreement + other.agreement) / 100);
    }
    const images = one.num_samples || 0;
    return images * (share(one) - share(other)) - 1 > 1.96 * Math.sqrt(images * Math.max(variance, 0));
  }

  function cost(row) {
    return row.size_mb * row.median_ms;
  }

  function is_preferred(one, other) {
    return other.tflite_top1 - one.tflite_top1 || one.size_mb - other.size_mb || one.median_ms - other.median_ms || one.row - other.row;
  }

  function figures(row) {
    return `${row.top1_text} (${row.interval_text}), ${row.median_text}, ${row.size_text}`;
  }

  function line(kind, words, row) {
    const made = document.createElement("p");
    made.className = kind;
    const name = document.createElement("b");
    name.textContent = row ? row.label : "";
    made.append(words, name, row ? `: ${figures(row)}` : "");
    answer.append(made);
    return made;
  }

  function pick() {
    const limit = limits();
    for (const name of NAMES) {
      const shown = Number.isFinite(limit[name]) ? `${number(limit[name])} ${UNITS[name]}` : "any";
      const slider = form.elements[name];
      slider.parentElement.querySelector("output").textContent = shown;
      slider.setAttribute("aria-valuetext", shown);
    }
    const here = passing.filter((row) => row.setting === Number(select.value)).sort(is_preferred);
    const fitting = here.filter((row) => excess(row, limit) === 0);
    answer.replaceChildren();
    if (!fitting.length) {
      const [nearest] = [...here].sort((one, other) => excess(one, limit) - excess(other, limit));
      line("none-fits", nearest ? "No file fits. Nearest: " : "No file passes the filters.", nearest);
      told(nearest || null);
      return;
    }
    const [best] = fitting;
    const ties = fitting.filter((row) => !is_better(best, row)).sort((one, other) => cost(one) - cost(other) || is_preferred(one, other));
    const [advised, ...others] = ties;
    line("winner", "", advised);
    const rest = others.sort(is_preferred);
    if (rest.length) {
      const few = rest.slice(0, 4).map((row) => `${row.label} (${row.top1_text}, ${row.median_text}, ${row.size_text})`);
      const more = rest.length > few.length ? `; and ${rest.length - few.length} more` : "";
      line("ties", `Of ${ties.length} files that ${best.num_samples.toLocaleString("en")} images cannot tell apart, the one of least size times latency. The others, the most accurate first: ${few.join("; ")}${more}`, null);
    }
    const [above] = here.filter((row) => excess(row, limit) > 0 && is_better(row, best)).sort((one, other) => excess(one, limit) - excess(other, limit));
    if (above) line("above", "More accurate beyond the limits: ", above);
    told(advised);
  }

  if (rivals.length > 1) {
    const counts = report.settings.map((_, place) => rivals.filter((row) => row.setting === place).length);
    report.settings.forEach((text, place) => select.add(new Option(text, place)));
    select.value = counts.indexOf(Math.max(...counts));
    select.parentElement.hidden = report.settings.length < 2;
    section.hidden = false;
    select.addEventListener("change", set_up);
    NAMES.forEach((name) => form.elements[name].addEventListener("input", pick));
    form.addEventListener("submit", (event) => event.preventDefault());
    set_up();
  }
  return (rows) => {
    passing = rows.filter((row) => row.setting >= 0);
    if (!section.hidden) pick();
  };
}
