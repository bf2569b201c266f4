"use strict";
/* As point_labels.py: labels beside points that overprint neither points nor one another, the best points first. */
const point_labels = (function () {
  const [GAP, POINT, FONT_SIZE] = [13, 9, 11];
  const ANCHORS = ["right", "left", "top", "bottom", "top-right", "bottom-right", "top-left", "bottom-left"];
  const ruler = document.createElement("canvas").getContext("2d");

  function offset(anchor, high) {
    const dy = anchor.includes("top") ? -GAP - high / 2 : anchor.includes("bottom") ? GAP + high / 2 : 0;
    if (anchor.includes("right")) return [GAP, dy, "left"];
    return anchor.includes("left") ? [-GAP, dy, "right"] : [0, dy, "center"];
  }

  function overlaps(one, other) {
    return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
  }

  /* `rows` are drawn; `fields` are those of the axes of the view. */
  return function (view, rows, fields) {
    const [width, height] = [view.width(), view.height()];
    const [to_x, to_y] = [view.scale("x"), view.scale("y")];
    ruler.font = `${FONT_SIZE}px ${getComputedStyle(document.body).fontFamily}`;
    const points = [...rows].sort((one, other) => other.pareto - one.pareto).map((row) => [row, to_x(row[fields[0]]), to_y(row[fields[1]])]);
    const taken = points.map(([, x, y]) => [x - POINT, y - POINT, x + POINT, y + POINT]);
    const placed = [];
    for (const [row, x, y] of points) {
      const [wide, high] = [ruler.measureText(row.point_label).width + 2, FONT_SIZE * 1.25];
      for (const anchor of ANCHORS) {
        const [dx, dy, align] = offset(anchor, high);
        const left = x + dx - { left: 0, center: wide / 2, right: wide }[align];
        const box = [left, y + dy - high / 2, left + wide, y + dy + high / 2];
        const inside = box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height;
        if (inside && !taken.some((other) => overlaps(box, other))) {
          taken.push(box);
          placed.push({ label: row.point_label, dx, dy, align, [fields[0]]: row[fields[0]], [fields[1]]: row[fields[1]] });
          break;
        }
      }
    }
    return placed;
  };
})();
