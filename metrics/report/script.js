"use strict";

const main = document.querySelector("main");
const grouped = new Intl.NumberFormat("en");

// Scrub through the samples: the pictures of the strip are the frames, so nothing is stored twice.
function scrub(chosen) {
  const moments = [...main.querySelectorAll(".strip li")];
  const slider = document.getElementById("scrub-moment");
  if (!slider) return;
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
  const kept = moments.findIndex((moment) => moment.querySelector(".moment").textContent === chosen);
  if (kept >= 0) slider.value = kept;
  show(Number(slider.value));
}

// Values under the pointer: for every curve the point nearest in images shown.
function hover(figure) {
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
function copying(copy) {
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

function begin(chosen) {
  scrub(chosen);
  main.querySelectorAll(".chart").forEach(hover);
  const copy = document.getElementById("copy");
  if (copy) copying(copy);
}

// Follow a run. A page from a file may read no file, but it may hold one in a frame: the new version of this very page
// loads there, unseen, and hands over its content, which takes the place of the old one without a flash.
const PERIOD = 20000;
const inFrame = window.parent !== window && location.search.startsWith("?again");

function handOver() {
  const home = location.protocol === "file:" ? "*" : location.origin;
  window.parent.postMessage({ html: main.innerHTML, title: document.title, ...main.dataset }, home);
}

function takeOver(news) {
  if (news.written === main.dataset.written) return;
  // What the reader has chosen and sees stays: open details, the moment of the slider, the place on the page.
  const open = [...main.querySelectorAll("details")].filter((one) => one.open).map((one) => one.textContent.slice(0, 12));
  const slider = document.getElementById("scrub-moment");
  const moment = slider && slider.value !== slider.max ? main.querySelector(".strip .chosen .moment") : null;
  const focus = main.contains(document.activeElement) ? document.activeElement.id : "";
  const place = () => [...main.children].map((child) => [child.querySelector("h2")?.textContent, child.getBoundingClientRect()]);
  const top = place().find(([, box]) => box.bottom > 0);
  main.innerHTML = news.html;
  Object.assign(main.dataset, { written: news.written, overdue: news.overdue, state: news.state });
  document.title = news.title;
  main.querySelectorAll("details").forEach((one) => { one.open = open.includes(one.textContent.slice(0, 12)); });
  begin(moment?.textContent);
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  const now = top && place().find(([name]) => name === top[0]);
  if (now) window.scrollBy({ top: now[1].top - top[1].top, behavior: "instant" });
}

function follow() {
  let frame = null;
  const busy = () => document.hidden || main.querySelector(".plot:hover") || !getSelection().isCollapsed;
  const look = () => {
    frame?.remove();
    frame = null;
    const box = document.getElementById("follow");
    if (main.dataset.state !== "going" || !box) return;
    const news = document.getElementById("news");
    if (Date.now() > 1000 * Number(main.dataset.overdue)) {
      news.textContent = `no news since ${news.dataset.since}: the run may have been killed or be very slow`;
      news.className = "late";
    }
    if (box.checked && !busy()) {
      frame = document.createElement("iframe");
      frame.hidden = true;
      frame.src = `${location.href.split(/[?#]/)[0]}?again=${Date.now()}`;
      document.body.append(frame);
    }
    setTimeout(look, PERIOD);
  };
  window.addEventListener("message", (event) => {
    if (!frame || event.source !== frame.contentWindow) return;
    const wanted = document.getElementById("follow")?.checked && !busy();
    if (wanted) takeOver(event.data);
    frame.remove();
    frame = null;
  });
  setTimeout(look, PERIOD);
}

if (inFrame) {
  handOver();
} else {
  begin();
  if (main.dataset.state === "going") follow();
}
