"use strict";
// follows a running execution: the server sends its part of the page anew whenever it has changed
const live = document.querySelector("[data-live]");
if (live) {
  const source = new EventSource(live.dataset.live);
  source.onmessage = (event) => {
    const open = live.querySelector("details")?.open;
    live.innerHTML = JSON.parse(event.data);
    const details = live.querySelector("details");
    if (details && open) details.open = true;
  };
  source.addEventListener("over", () => {
    source.close();
    document.querySelector("#cancel")?.remove();
  });
}
