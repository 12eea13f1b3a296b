"use strict";

// Scrub through the samples: the pictures of the strip are the frames, so nothing is stored twice.
const moments = [...document.querySelectorAll(".strip li")];
const slider = document.getElementById("scrub-moment");
if (slider) {
  const show = (index) => {
    document.getElementById("scrub-picture").src = moments[index].querySelector("img").src;
    const [images, stage] = moments[index].querySelectorAll(".moment > *");
    document.getElementById("scrub-caption").textContent =
      `${images.textContent} images${stage.textContent ? ", " + stage.textContent : ""}`;
    slider.setAttribute("aria-valuetext", document.getElementById("scrub-caption").textContent);
    moments.forEach((moment, k) => moment.classList.toggle("chosen", k === index));
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  moments.forEach((moment, k) => moment.addEventListener("click", () => { slider.value = k; show(k); }));
  slider.parentElement.hidden = false;
  show(Number(slider.value));
}

// Values under the pointer: for every curve the point nearest in images shown.
const grouped = new Intl.NumberFormat("en");
for (const figure of document.querySelectorAll(".chart")) {
  const { end, series } = JSON.parse(figure.dataset.hover);
  const plot = figure.querySelector(".plot");
  const cursor = figure.querySelector(".cursor");
  const tip = figure.querySelector(".tip");
  const nearest = (xs, x) => xs.reduce((best, value, k) => (Math.abs(value - x) < Math.abs(xs[best] - x) ? k : best), 0);
  const move = (event) => {
    const box = plot.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * end;
    const found = series.map((curve) => ({ curve, k: nearest(curve.x, x) }));
    const closest = found.reduce((a, b) => (Math.abs(b.curve.x[b.k] - x) < Math.abs(a.curve.x[a.k] - x) ? b : a));
    const at = closest.curve.x[closest.k];
    const head = document.createElement("b");
    head.textContent = `${grouped.format(at)} images`;
    const rows = found.map(({ curve, k }) => {
      const row = document.createElement("span");
      row.className = `c${curve.colour}`;
      row.append(document.createElement("i"), `${curve.name} `);
      const value = document.createElement("b");
      value.textContent = String(curve.y[k]).replace("-", "\u2212");
      row.append(value);
      return row;
    });
    tip.replaceChildren(head, ...rows);
    cursor.style.left = tip.style.left = `${(100 * at) / end}%`;
    tip.classList.toggle("left", at > end / 2);
    cursor.hidden = tip.hidden = false;
  };
  plot.addEventListener("pointermove", move);
  plot.addEventListener("pointerdown", move);
  plot.addEventListener("pointerleave", () => { cursor.hidden = tip.hidden = true; });
}

// Copy the command. A page opened from a file may have no clipboard; then the text is selected instead.
const copy = document.getElementById("copy");
if (copy) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const command = document.getElementById("command");
    getSelection().selectAllChildren(command);
    try {
      await navigator.clipboard.writeText(command.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
}

// Follow a run: the choice lives in the address, so that it outlasts the reload.
const follow = document.getElementById("follow");
if (follow) {
  let timer = 0;
  const apply = () => {
    clearTimeout(timer);
    history.replaceState(null, "", follow.checked ? "#follow" : location.pathname);
    if (follow.checked) timer = setTimeout(() => location.reload(), 30000);
  };
  follow.checked = location.hash === "#follow";
  follow.addEventListener("change", apply);
  if (follow.checked) apply();
}
