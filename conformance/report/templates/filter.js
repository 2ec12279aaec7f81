// What filter.css does, and more: text, a count, and no empty sections. The page can do without it.
"use strict";
for (const form of document.querySelectorAll(".filter")) {
  const scope = form.closest("section, main");
  const rows = [...scope.querySelectorAll("[data-is]")];
  const parts = [...scope.querySelectorAll(".part")];
  const count = form.querySelector("output");
  const text = form.querySelector("input");
  const opened = new Map(parts.map((part) => [part, part.open]));
  const apply = () => {
    const chosen = [...form.querySelectorAll("select")].map((one) => one.value).filter(Boolean);
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const filtered = chosen.length + words.length > 0;
    let shown = 0;
    for (const row of rows) {
      const is = row.dataset.is.split(" ");
      const said = words.length ? row.textContent.toLowerCase() : "";
      row.hidden = !(chosen.every((one) => is.includes(one)) && words.every((one) => said.includes(one)));
      shown += !row.hidden;
    }
    for (const part of parts) {
      part.hidden = !part.querySelector("[data-is]:not([hidden])");
      if ("open" in part) part.open = filtered || opened.get(part);
    }
    count.value = filtered ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : "";
  };
  for (const one of form.querySelectorAll("[hidden]")) one.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  apply(); // a browser keeps what was chosen when the page is loaded again
}
