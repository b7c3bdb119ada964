// Runs before the first paint, so that a chosen theme does not flash.
(() => {
  const chosen = new URLSearchParams(location.search).get('theme') ?? localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
