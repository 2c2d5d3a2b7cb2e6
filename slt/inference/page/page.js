// What the page does beside Gradio: corrections, the player, whether the server is there, and names for readers of screens.
(words) => {
  const wish = navigator.languages.map((each) => each.split("-")[0].toLowerCase()).find((each) => each in words);
  const language = wish || Object.keys(words)[0], text = words[language];
  document.documentElement.lang = language;
  const find = (selector) => document.querySelector(selector);

  // ---- corrections: the sentence, the captions of the film and the files follow what a visitor writes or chooses
  async function correct(form) {
    const said = find("#slt-applied"), box = (name) => Boolean(form.elements[name]?.checked);
    const fields = [...form.querySelectorAll("textarea")].map((field) => field.value);
    try {
      const answer = await fetch("slt/correct", {
        method: "POST", headers: {"Content-Type": "application/json"},
        body: JSON.stringify({key: form.dataset.key, words: fields, consent: box("consent"), film: box("film")}),
      });
      const change = await answer.json();
      if (!answer.ok) { said.innerHTML = change.message || text.server_gone; return; }
      const card = document.createElement("div");
      card.innerHTML = change.sentences;
      find("#slt-sentences").innerHTML = card.firstElementChild.innerHTML;
      const cues = find("#slt-player video")?.textTracks[0]?.cues || [];
      const escaped = (line) => line.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
      change.cues.forEach((line, n) => { if (cues[n]) cues[n].text = escaped(line); });
      said.textContent = change.message;
    } catch { said.textContent = text.server_gone; }
  }
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("#slt-form form")) return;
    event.preventDefault();
    correct(event.target);
  });
  document.addEventListener("click", (event) => {
    const choice = event.target.closest?.(".slt-choice"), form = find("#slt-form form");
    if (!choice || !form) return;
    form.querySelectorAll("textarea")[choice.dataset.caption].value = choice.textContent;
    correct(form);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("#slt-form [name=consent]")) {
      const film = event.target.form.elements.film;
      film.disabled = !event.target.checked;
      film.checked = film.checked && event.target.checked;
    }
    if (event.target.id === "slt-landmarks") play(find("#slt-player video"), event.target.checked);
  });

  // ---- the player: the film with its track, or the drawn one, which has its sentences in the picture
  function play(video, drawn) {
    const {currentTime, paused} = video;
    video.src = drawn ? video.dataset.drawn : video.dataset.film;
    video.currentTime = currentTime;
    video.textTracks[0].mode = drawn ? "hidden" : "showing";
    if (!paused) video.play();
  }
  document.addEventListener("error", (event) => {
    const video = event.target, box = find("#slt-landmarks");
    if (!video.matches?.("#slt-player video") || box.checked) return;
    box.checked = box.disabled = true;  // a film that this browser cannot play
    play(video, true);
  }, true);

  // ---- the server: said when it has gone, when it is back, and when it has forgotten this page
  const banner = document.createElement("div");
  banner.id = "slt-server";
  banner.setAttribute("role", "alert");
  banner.hidden = true;
  document.body.append(banner);
  let started = null, missed = 0;
  function tell(state, again) {
    banner.hidden = !state;
    banner.dataset.state = state || "";
    banner.textContent = state ? text[state] : "";
    if (!again) return;
    const button = document.createElement("button");
    button.textContent = text.reload;
    button.onclick = () => location.reload();
    banner.append(" ", button);
  }
  async function ask() {
    try {
      const answer = await fetch("slt/there", {cache: "no-store", signal: AbortSignal.timeout(4000)});
      const now = (await answer.json()).started;
      if (started && now !== started) tell("server_new", true);
      else if (missed > 1) { tell("server_back"); setTimeout(() => missed || tell(null), 6000); }
      started ||= now;
      missed = 0;
    } catch {
      missed += 1;
      if (missed === 2) tell("server_gone");
    }
  }
  ask();
  setInterval(ask, 2000);

  // ---- Gradio's parts: a button is called by what stands on it, so that who speaks to the browser can press it; the
  // head of a notice is no button around the one that closes it
  const name = () => { heads(); names(); };
  const heads = () => document.querySelectorAll(".toast-header[role=button]").forEach((head) => {
    head.removeAttribute("role");
    head.removeAttribute("tabindex");
  });
  const names = () => document.querySelectorAll("#film button[aria-label], #camera button[aria-label]").forEach((button) => {
    const seen = button.innerText.replace(/\s+/g, " ").trim();
    if (seen && !button.getAttribute("aria-label").includes(seen)) button.setAttribute("aria-label", seen);
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}
