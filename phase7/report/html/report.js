"use strict";
(() => {
  const tip = document.getElementById("tip");
  let current = null;
  const hide = () => {
    if (current) current.classList.remove("on");
    current = null;
    tip.hidden = true;
  };
  const show = (target) => {
    hide();
    current = target;
    target.classList.add("on");
    tip.textContent = target.dataset.tip.split("|").join("\n");
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const middle = Math.max(0, Math.min(at.left + at.width / 2, innerWidth));
    const left = Math.max(8, Math.min(middle - box.width / 2, innerWidth - box.width - 8));
    const above = at.top - box.height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above >= 8 ? above : at.bottom + 8}px`;
  };
  const over = (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    if (target) show(target);
    else hide();
  };
  document.addEventListener("pointerover", over);
  document.addEventListener("click", over);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
