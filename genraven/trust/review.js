"use strict";
const articles = [...document.querySelectorAll("article")];
const about = JSON.parse(document.getElementById("about").textContent);
let unsaved = false;
const chosen = (article) => article.querySelector("input:checked");

function current() {
  const at = document.activeElement.closest("article");
  return at ? articles.indexOf(at) : -1;
}

function go(to) {
  const article = articles[Math.max(0, Math.min(to, articles.length - 1))];
  if (!article) return;
  article.focus({ preventScroll: true });
  article.scrollIntoView({ block: "start" });
}

function update() {
  for (const article of articles) article.classList.toggle("decided", chosen(article) !== null);
  const num = articles.filter(chosen).length;
  document.getElementById("progress").textContent = `${num} of ${articles.length} decided`;
}

function choices() {
  return articles.filter(chosen).map((article) => {
    const value = chosen(article).value;
    return { puzzle: Number(article.dataset.puzzle), candidate: value === "none" ? null : Number(value) };
  });
}

function exportChoices() {
  const text = JSON.stringify({ ...about, choices: choices() }, null, 1) + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "review.json";
  link.click();
  unsaved = false;
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function choose(digit) {
  const article = articles[current()];
  if (!article) return;
  const inputs = [...article.querySelectorAll("input")];
  const input = digit === 0 ? inputs[inputs.length - 1] : inputs.slice(0, -1)[digit - 1];
  if (!input) return;
  input.checked = true;
  decide();
}

function decide() {
  unsaved = true;
  update();
}

document.addEventListener("change", decide);
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key;
  if (/^[0-9]$/.test(key)) choose(Number(key));
  else if (key === "j") go(current() + 1);
  else if (key === "k") go(current() - 1);
  else if (key === "u") {
    const rest = [...articles.slice(current() + 1), ...articles.slice(0, current() + 1)];
    const next = rest.find((article) => !chosen(article));
    if (next) go(articles.indexOf(next));
  } else if (key === "e") exportChoices();
  else return;
  event.preventDefault();
});
document.getElementById("export").addEventListener("click", exportChoices);
update();
