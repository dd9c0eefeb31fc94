"use strict";
const EVERY = 2000, SILENT = 120;
const $ = id => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

const clock = seconds => {
  const s = Math.round(seconds), two = n => String(n).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
};
const number = (value, digits) => typeof value === "number" ? value.toFixed(digits) : "";
const count = value => typeof value === "number" ? value.toLocaleString("en") : "";

const cell = (row, text, kind) => {
  const td = row.insertCell();
  td.textContent = text;
  if (kind) td.className = kind;
  return td;
};

const show = (body, run) => {
  const row = body.insertRow(), silent = run.status === "running" && run.age > SILENT;
  row.className = silent ? "silent" : ["running", "failed", "damaged"].includes(run.status) ? run.status : "";
  cell(row, run.name, "name");
  cell(row, run.kind);
  cell(row, silent ? "running, but silent" : run.status ?? "", "status");
  const place = cell(row, "");
  if (run.total) {
    const bar = document.createElement("progress");
    bar.max = run.total;
    bar.value = run.step;
    bar.setAttribute("aria-label", `progress of ${run.name}`);
    place.append(bar);
  }
  cell(row, run.total ? `${count(run.step)} of ${count(run.total)}` : "", "number");
  cell(row, number(run.loss, 4), "number");
  cell(row, number(run["validation loss"], 4), "number");
  cell(row, typeof run.gain === "number" ? (run.gain > 0 ? "+" : "") + number(run.gain, 4) : "", "number");
  cell(row, typeof run["graphs/s"] === "number" ? Math.round(run["graphs/s"]).toLocaleString("en") : "", "number");
  cell(row, typeof run.left === "number" ? clock(run.left) : "", "number");
  cell(row, run.updated ? `${clock(run.age)} ago` : "", "number");
};

const draw = (chart, again) => {
  const text = JSON.stringify(chart.spec), known = drawn.get(chart.title);
  if (known && known.text === text && !again) return;
  const figure = known?.figure ?? document.createElement("figure");
  if (!known) {
    const place = document.createElement("div"), told = document.createElement("figcaption"), title = document.createElement("strong");
    place.className = "chart";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", chart.caption);
    title.textContent = `${chart.title}. `;
    told.append(title, chart.caption);
    figure.append(place, told);
    $("charts").append(figure);
  }
  drawn.set(chart.title, { text, figure, chart });
  // ast: expressions are interpreted, since the Content-Security-Policy of this page allows no eval.
  const options = { renderer: "canvas", actions: false, ast: true, defaultStyle: false, tooltip: false, theme: dark.matches ? "dark" : undefined };
  vegaEmbed(figure.querySelector(".chart"), JSON.parse(text), options).catch(error => console.error(error));
};

const refresh = async () => {
  const said = $("said");
  try {
    const answer = await fetch("state.json");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const state = await answer.json(), body = $("runs").tBodies[0], running = state.rows.filter(row => row.status === "running").length;
    $("folder").textContent = state.folder;
    body.replaceChildren();
    for (const run of state.rows) show(body, run);
    for (const chart of state.charts) draw(chart, false);
    for (const [title, { figure }] of drawn) {
      if (state.charts.some(chart => chart.title === title)) continue;
      figure.remove();
      drawn.delete(title);
    }
    said.className = state.error ? "note bad" : "note";
    said.textContent = state.error || (state.rows.length ? `${state.rows.length} ${state.rows.length === 1 ? "folder" : "folders"}, ${running} running` : "There are no runs here yet.");
    document.title = running ? `${running} running - distgnn` : "distgnn board";
  } catch (error) {
    said.className = "note bad";
    said.textContent = `No answer from distgnn board (${error.message}); trying again.`;
  }
  setTimeout(refresh, EVERY);
};

dark.addEventListener("change", () => { for (const { chart } of drawn.values()) draw(chart, true); });
refresh();
