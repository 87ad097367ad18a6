"use strict";
(() => {
  const table = document.getElementById("list");
  const bodies = [...table.tBodies];
  const text = bodies.map((body) => body.rows[0].textContent.toLowerCase());
  const search = document.getElementById("search");
  const count = document.getElementById("count");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    bodies.forEach((body, i) => {
      body.hidden = !words.every((word) => text[i].includes(word));
      shown += body.hidden ? 0 : 1;
    });
    count.textContent = shown === bodies.length ? `${shown} layers` : `${shown} of ${bodies.length} layers`;
  };

  const key = (body, column) => {
    const cell = body.rows[0].cells[column];
    const value = cell.dataset.v ?? cell.textContent;
    return value === "" ? null : Number.isNaN(Number(value)) ? value : Number(value);
  };

  const sort = (column, header) => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    const keyed = [...table.tBodies].map((body) => [key(body, column), body]);
    // What was not measured stays last in either direction.
    keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : descending ? order(b, a) : order(a, b)));
    table.append(...keyed.map(([, body]) => body));
  };

  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(column, header));
    header.replaceChildren(button);
  });

  const open = () => {
    const body = location.hash.startsWith("#layer-") ? document.getElementById(location.hash.slice(1)) : null;
    if (!body) return;
    body.hidden = false;
    body.querySelector("details").open = true;
    body.scrollIntoView({ block: "nearest" });
  };

  search.addEventListener("input", filter);
  addEventListener("hashchange", open);
  document.querySelector(".tools").hidden = false;
  filter();
  open();
})();
