// Find, filter and sort the table of units. Without this script the page shows all of them, best first.
(() => {
  "use strict";
  const table = document.getElementById("units");
  const body = table.tBodies[0];
  const form = document.getElementById("filters");
  const find = document.getElementById("find");
  const only = document.getElementById("only");
  const order = document.getElementById("order");
  const chips = Array.from(form.querySelectorAll(".chips button"));
  const heads = Array.from(table.querySelectorAll("th[data-key]"));
  const count = document.getElementById("tally");
  const nothing = document.getElementById("nothing");
  const more = document.getElementById("more");
  const PAGE = 600; // rows laid out at a time: thousands at once make every keystroke wait
  let limit = PAGE;

  const rows = Array.from(body.rows, (row) => ({
    row,
    unit: Number(row.dataset.unit),
    concept: row.dataset.concept,
    category: row.dataset.category,
    iou: Number(row.dataset.iou),
    detector: row.classList.contains("detector"),
    text: `${row.dataset.concept} ${row.dataset.category}`.toLowerCase(),
  }));

  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  // Rows without a concept go last in either direction; equal rows fall back on IoU, then on the unit.
  const text = (key) => (a, b, sign) =>
    (a[key] === "") - (b[key] === "") || sign * compare(a[key], b[key]) || b.iou - a.iou || a.unit - b.unit;
  const by = {
    unit: (a, b, sign) => sign * (a.unit - b.unit),
    concept: text("concept"),
    category: text("category"),
    iou: (a, b, sign) => sign * (a.iou - b.iou) || a.unit - b.unit,
  };

  function sort(key, sign) {
    rows.sort((a, b) => by[key](a, b, sign));
    body.append(...rows.map((entry) => entry.row));
    for (const head of heads) {
      if (head.dataset.key === key) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    order.value = key;
    filter();
  }

  function filter(most = PAGE) {
    limit = most;
    const words = find.value.trim().toLowerCase();
    const number = /^\d+$/.test(words);
    const exact = /^"(.+)"$/.exec(words)?.[1]; // a concept in double quotes: that one and no other
    const wanted = new Set(chips.filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.dataset.category));
    let matching = 0;
    for (const entry of rows) {
      const found = number
        ? String(entry.unit).startsWith(words)
        : exact
          ? entry.concept.toLowerCase() === exact
          : entry.text.includes(words);
      const keep = found && (!wanted.size || wanted.has(entry.category)) && (!only.checked || entry.detector);
      matching += keep;
      const hide = !keep || matching > limit;
      if (entry.row.hidden !== hide) entry.row.hidden = hide;
    }
    count.textContent = matching === rows.length ? `${rows.length} units` : `${matching} of ${rows.length} units`;
    nothing.hidden = matching > 0;
    table.hidden = matching === 0;
    more.hidden = matching <= limit;
  }

  function press(chip, on) {
    chip.setAttribute("aria-pressed", String(on));
  }

  function reset(most = PAGE) {
    find.value = "";
    only.checked = false;
    chips.forEach((chip) => press(chip, false));
    filter(most);
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.key === "iou" ? -1 : 1;
      sort(head.dataset.key, now ? (now === "ascending" ? -1 : 1) : first);
    });
  }
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      press(chip, chip.getAttribute("aria-pressed") !== "true");
      filter();
    });
  }
  // A bar of the concepts' figure shows that concept's detectors.
  for (const bar of document.querySelectorAll("svg [data-find]")) {
    bar.addEventListener("click", () => {
      reset();
      find.value = `"${bar.dataset.find}"`;
      only.checked = true;
      filter();
      form.scrollIntoView({ behavior: "smooth" });
    });
  }
  find.addEventListener("input", () => filter());
  only.addEventListener("change", () => filter());
  order.addEventListener("change", () => sort(order.value, order.value === "iou" ? -1 : 1));
  document.getElementById("reset").addEventListener("click", () => reset());
  // The next rows come as their turn nears, or by the button.
  more.addEventListener("click", () => filter(limit + PAGE));
  new IntersectionObserver((seen) => seen[0].isIntersecting && filter(limit + PAGE), { rootMargin: "1500px" }).observe(more);
  window.addEventListener("beforeprint", () => filter(Infinity));
  form.addEventListener("submit", (event) => event.preventDefault());
  // A link to a unit must lead to it even when a filter hides it.
  function follow() {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.hidden) {
      reset(Infinity);
      target.scrollIntoView();
    }
  }
  window.addEventListener("hashchange", follow);

  form.hidden = false;
  document.documentElement.classList.add("script");
  filter(); // a browser may have kept what was typed before a reload
  follow();
})();
