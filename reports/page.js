"use strict";
// Adds theme, sorting, switching and filtering; the page says everything without it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Theme: the system's, until the reader chooses.
  const root = document.documentElement;
  const button = document.querySelector(".theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => { button.textContent = isDark() ? "Light page" : "Dark page"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();

  // Sorting: the heads of a column become buttons.
  const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y || 0;
    return String(a).localeCompare(String(b));
  };
  const missing = (value) => value === "inf" || value === "nan";
  for (const table of all("table.sortable")) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const sort = document.createElement("button");
      sort.type = "button";
      sort.append(...head.childNodes);
      head.append(sort);
      head.setAttribute("aria-sort", "none");
      sort.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
        rows.sort(([a], [b]) => missing(a) - missing(b) || (up ? compare(a, b) : compare(b, a)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // Switching: the original lies over the adversarial image, in place.
  const flips = [];
  for (const item of all(".item")) {
    const stack = item.querySelector(".stack");
    if (!stack) continue;
    const flip = document.createElement("button");
    const over = item.querySelector(".original").cloneNode();
    const what = item.querySelector(".what");
    flip.type = "button";
    flip.className = "stack";
    over.className = "over";
    over.alt = "";
    flip.setAttribute("aria-label", "Show the original in place of the adversarial image");
    flip.setAttribute("aria-pressed", "false");
    flip.append(...stack.childNodes, over);
    stack.replaceWith(flip);
    const show = (original) => {
      flip.classList.toggle("flipped", original);
      what.textContent = original ? "original" : "adversarial";
    };
    const pressed = () => flip.getAttribute("aria-pressed") === "true";
    flip.addEventListener("click", () => { flip.setAttribute("aria-pressed", String(!pressed())); show(pressed()); });
    flip.addEventListener("mouseenter", () => show(!pressed()));
    flip.addEventListener("mouseleave", () => show(pressed()));
    flips.push(over);
  }

  // Filtering and the slider over all pictures.
  const form = document.querySelector(".controls");
  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    const filters = all("[data-filter]", form);
    const items = all(".item");
    const apply = () => {
      let shown = 0;
      for (const item of items) {
        item.hidden = filters.some((f) => f.value && item.dataset[f.dataset.filter] !== f.value);
        shown += !item.hidden;
      }
      for (const part of all(".gallery-of")) part.hidden = !part.querySelector(".item:not([hidden])");
      form.querySelector("output").textContent = shown === items.length ? "" : `${shown} of ${items.length} pictures`;
    };
    for (const f of filters) { f.value = ""; f.addEventListener("change", apply); }
    const blend = form.querySelector("[data-blend]");
    const mix = () => { for (const over of flips) over.style.opacity = String(1 - blend.value); };
    blend.addEventListener("input", mix);
    mix();
  }

  // Shift maps: the number of a cell, and an image at that shift with its prediction.
  for (const figure of all(".shift-figure")) {
    const look = figure.querySelector(".shift-look");
    const radius = Number(figure.dataset.radius), size = 2 * radius + 1;
    const classes = JSON.parse(figure.dataset.classes);
    const maps = all("svg[data-values]", figure);
    const along = (by, less, more) => (by ? `${Math.abs(by)} ${by < 0 ? less : more}` : "");
    let at = [radius, radius];
    const show = () => {
      const [row, column] = at;
      const place = row * size + column;
      const words = [along(row - radius, "up", "down"), along(column - radius, "left", "right")].filter(Boolean);
      const told = maps.map((map) => `${map.dataset.name}: ${map.dataset.values.split(" ")[place]} % right; this image is taken for ${classes[map.dataset.said.split(" ")[place]]}`);
      for (const map of maps) {
        const cursor = map.querySelector(".cursor");
        cursor.setAttribute("x", column);
        cursor.setAttribute("y", row);
        cursor.setAttribute("visibility", "visible");
      }
      if (!look) return;
      const seen = look.querySelector(".shift-window");
      const k = Number(seen.style.getPropertyValue("--k"));
      seen.style.backgroundPosition = `${(column - size + 1) * k}px ${(row - size + 1) * k}px`;
      look.querySelector("output").textContent = [words.join(", ") || "not shifted", ...told].join("\n");
    };
    const clamp = (value) => Math.min(size - 1, Math.max(0, value));
    for (const map of maps) {
      map.addEventListener("pointermove", (event) => {
        const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
        if (Math.min(spot.x, spot.y) < 0 || Math.max(spot.x, spot.y) >= size) return;
        at = [Math.floor(spot.y), Math.floor(spot.x)];
        show();
      });
      map.addEventListener("keydown", (event) => {
        const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        at = [clamp(at[0] + step[0]), clamp(at[1] + step[1])];
        show();
      });
    }
    if (look) { look.hidden = false; show(); }
  }

  // The contents mark where the reader is.
  const links = new Map(all(".side a").map((a) => [a.hash.slice(1), a]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      if (link && entry.isIntersecting) {
        for (const other of links.values()) other.removeAttribute("aria-current");
        link.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of all("main > section")) watch.observe(section);
})();
