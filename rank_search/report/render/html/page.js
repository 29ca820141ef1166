"use strict";
(() => {
  const root = document.documentElement;
  const KEY = "rank-search-theme";
  const TOGETHER = 8; // points under one pointer that speak at once
  const kept = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* a page from a file may not remember */ } };
  const chosen = kept();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  const make = (name, attributes, text) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };

  const addTheme = () => {
    const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const button = make("button", { type: "button", class: "theme" });
    const say = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      say();
    });
    say();
    document.querySelector("header").append(button);
  };

  const compare = (column, numeric, sign) => (one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    if (!numeric) return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
    const [x, y] = [a, b].map((cell) => parseFloat(cell.dataset.value));
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y);
  };

  const addSorting = (table) => {
    const body = table.tBodies[0];
    const before = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" });
      const label = make("span");
      label.append(...head.childNodes);
      button.append(label);
      head.append(button);
      const numeric = head.classList.contains("number");
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "" };
        const was = head.getAttribute("aria-sort");
        const now = was === null ? "ascending" : next[was];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        table.classList.toggle("sorted", now !== "");
        if (now) head.setAttribute("aria-sort", now);
        body.append(...(now ? [...before].sort(compare(column, numeric, now === "ascending" ? 1 : -1)) : before));
      });
    });
  };

  const addFilter = (table, number) => {
    const heads = [...table.tHead.rows[0].cells];
    const wanted = heads.map((head, column) => [head.dataset.filter, column]).filter(([name]) => name);
    const rows = [...table.tBodies[0].rows];
    if (!wanted.length || rows.length < 8) return;
    const box = make("div", { class: "filter", role: "group", "aria-label": `Filter ${table.caption.textContent}` });
    const count = make("output", { "aria-live": "polite" });
    const tests = wanted.map(([name, column]) => {
      const label = make("label", {}, name === "budget" ? "Budget" : "Searcher");
      const texts = rows.map((row) => row.cells[column].textContent);
      const field = make(name === "budget" ? "select" : "input", { id: `filter-${number}-${column}` });
      if (name === "budget") {
        field.append(make("option", { value: "" }, "all"));
        [...new Set(texts)].filter((text) => text !== "–").forEach((text) => field.append(make("option", { value: text }, text)));
      } else {
        field.type = "search";
        field.placeholder = "part of a name";
      }
      label.append(field);
      box.append(label);
      field.addEventListener("input", () => apply());
      return (row) => {
        const text = row.cells[column].textContent;
        if (!field.value) return true;
        return name === "budget" ? text === field.value : text.toLowerCase().includes(field.value.trim().toLowerCase());
      };
    });
    const apply = () => {
      rows.forEach((row) => { row.hidden = !tests.every((test) => test(row)); });
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
    };
    box.append(count);
    apply();
    table.parentElement.before(box);
  };

  // Tables of one column per cell: the one that is chosen is seen.
  const addChoice = (table, number) => {
    const heads = [...table.tHead.rows[0].cells];
    const box = make("div", { class: "filter", role: "group", "aria-label": `Choose a column of ${table.caption.textContent}` });
    const label = make("label", {}, "Cell");
    const field = make("select", { id: `choice-${number}` });
    field.append(make("option", { value: "" }, "all"));
    const groups = new Map();
    heads.forEach((head, column) => {
      const { group, column: name } = head.dataset;
      if (name === undefined) return;
      if (!groups.has(group)) {
        groups.set(group, make("optgroup", { label: group }));
        field.append(groups.get(group));
      }
      groups.get(group).append(make("option", { value: column }, `${name} (${group})`));
    });
    const apply = () => {
      [...table.rows].forEach((row) => [...row.cells].forEach((cell, column) => {
        cell.hidden = column > 0 && field.value !== "" && column !== Number(field.value);
      }));
      table.classList.toggle("few", field.value !== "");
    };
    field.addEventListener("input", apply);
    field.value = "1";
    label.append(field);
    box.append(label);
    apply();
    table.parentElement.before(box);
  };

  const addTips = () => {
    const tip = make("div", { id: "tip", hidden: "", "aria-hidden": "true" });
    document.body.append(tip);
    document.querySelectorAll(".spots > *").forEach((spot) => {
      const title = spot.querySelector("title");
      spot.dataset.tip = title.textContent;
      title.remove();
    });
    document.addEventListener("pointerover", (event) => {
      tip.hidden = !(event.target.dataset && event.target.dataset.tip);
      if (tip.hidden) return;
      const here = document.elementsFromPoint(event.clientX, event.clientY).map((one) => one.dataset && one.dataset.tip);
      tip.textContent = [...new Set(here.filter(Boolean))].slice(0, TOGETHER).join("\n") || event.target.dataset.tip;
      const place = event.target.getBoundingClientRect();
      const size = tip.getBoundingClientRect();
      const middle = place.left + place.width / 2 - size.width / 2;
      tip.style.left = `${Math.max(4, Math.min(middle, innerWidth - size.width - 4))}px`;
      tip.style.top = `${place.top - size.height - 6 < 0 ? place.bottom + 6 : place.top - size.height - 6}px`;
    });
    addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
  };

  const openForPrint = () => {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details.more:not([open])")];
      opened.forEach((one) => { one.open = true; });
    });
    addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
  };

  document.addEventListener("DOMContentLoaded", () => {
    addTheme();
    document.querySelectorAll("table.tools").forEach((table, number) => {
      addSorting(table);
      addFilter(table, number);
    });
    document.querySelectorAll("table.choose").forEach(addChoice);
    addTips();
    openForPrint();
  });
})();
