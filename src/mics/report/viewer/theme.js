// Light or dark as the system has it, until the button is used.
{
  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement, button = document.getElementById("theme");
  const show = theme => { root.dataset.theme = theme; button.textContent = theme === "dark" ? "Light page" : "Dark page"; };
  let chosen = false;
  show(dark.matches ? "dark" : "light");
  dark.onchange = () => { if (!chosen) show(dark.matches ? "dark" : "light"); };
  button.onclick = () => { chosen = true; show(root.dataset.theme === "dark" ? "light" : "dark"); };
}
