"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const stage = get("stage");
  const cards = all(".card");
  const byIndex = (elements) => new Map(elements.map((element) => [Number(element.dataset.index), element]));
  const cardOf = byIndex(cards);
  const rowOf = byIndex(all("#table tbody tr"));
  const marked = new Map(); // the points and lines of each lane
  for (const element of all(".point, .line")) {
    const index = Number(element.dataset.index);
    marked.set(index, [...(marked.get(index) ?? []), element]);
  }
  const pairOf = (lane) => `${lane.content}-${lane.style}`;
  let current = -1;
  let view = "result";
  let wanted = new Map();

  // Show the small picture, which is in this page, at once, and the full one when it has been loaded.
  function load(image, small, full) {
    wanted.set(image, full);
    if (small) image.src = small;
    if (!full) return;
    const loader = new Image();
    loader.src = full;
    loader.decode().then(
      () => { if (wanted.get(image) === full) image.src = loader.src; },
      () => {}, // the file is not beside the page: the small picture stays
    );
  }

  function show() {
    const lane = data.lanes[current];
    const content = data.content[lane.content];
    const style = data.style[lane.style];
    const result = { thumbnail: cardOf.get(current).querySelector("img")?.src, picture: lane.picture };
    const shown = { result, difference: result, content, style }[view];
    const name = data.lanes[current].alt;
    const picture = get("picture");
    picture.alt = {
      result: name,
      difference: `Difference of the result from the content image. ${name}`,
      content: `Content image ${content.name}`,
      style: `Style image ${style.name}`,
    }[view];
    picture.hidden = !(shown.thumbnail || shown.picture);
    get("nothing").hidden = !picture.hidden;
    load(picture, shown.thumbnail, shown.picture);
    stage.classList.toggle("difference", view === "difference");
    if (view === "difference") load(get("under"), content.thumbnail, content.picture);
    get("viewing").textContent = { result: "", difference: "Difference from the content, twice as bright", content: "Content", style: "Style" }[view];
    for (const button of all("[data-view]")) {
      const needs = { result, content, style, difference: result.thumbnail || result.picture ? content : {} }[button.dataset.view];
      button.disabled = button.dataset.view !== "result" && !(needs.thumbnail || needs.picture);
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    }
  }

  function look(name) {
    const button = document.querySelector(`[data-view="${name}"]`);
    view = view === name || button.disabled ? "result" : name;
    show();
    get("announce").textContent = get("picture").alt;
  }

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  // Break the lines of a command between options, not within one.
  const split = (command) => command.split(/(?<= )(?=-)/).map((words) => make("span", words));

  // Show the numbers of a lane, which its row of the table holds.
  function read(row) {
    const groups = new Map();
    all("#table thead th").forEach((head, i) => {
      const group = head.dataset.group;
      if (!group) return;
      const line = document.createElement("div");
      line.append(make("dt", head.textContent.trim()), make("dd", row.cells[i].textContent));
      groups.set(group, [...(groups.get(group) ?? []), line]);
    });
    get("readings").replaceChildren(...[...groups].slice(0, 2).map(([group, lines]) => {
      const block = document.createElement("div");
      const list = document.createElement("dl");
      list.append(...lines);
      block.append(make("h3", group), list);
      return block;
    }));
  }

  function select(index, { open = false } = {}) {
    const before = data.lanes[current];
    const lane = data.lanes[index];
    for (const element of marked.get(current) ?? []) element.classList.remove("current");
    for (const element of [cardOf.get(current), rowOf.get(current)]) element?.removeAttribute("aria-current");
    current = index;
    cardOf.get(index).setAttribute("aria-current", "true");
    rowOf.get(index).setAttribute("aria-current", "true");
    for (const element of marked.get(index) ?? []) {
      element.classList.add("current");
      if (!element.contains(document.activeElement)) element.parentNode.append(element); // draw it over the others
    }
    if (!before || pairOf(before) !== pairOf(lane)) {
      const other = (one) => pairOf(data.lanes[one]) !== pairOf(lane);
      for (const [one, elements] of marked) for (const element of elements) element.classList.toggle("other", other(one));
      for (const front of all(".front[data-pair]")) front.classList.toggle("other", front.dataset.pair !== pairOf(lane));
    }
    for (const select of all("select[data-kind]")) select.value = lane[select.dataset.kind];
    for (const slider of all("input[data-axis]")) {
      const axis = Number(slider.dataset.axis);
      const value = data.axes[axis][lane.ranks[axis]];
      slider.value = lane.ranks[axis];
      slider.setAttribute("aria-valuetext", value);
      slider.parentNode.querySelector("b").textContent = value;
    }
    get("name").textContent = `Lane ${lane.lane}`;
    const notes = rowOf.get(index).lastElementChild.textContent.split(", ");
    const reason = cardOf.get(index).querySelector(".alarm")?.textContent;
    get("marks").replaceChildren(
      ...(notes.includes("knee") ? [make("span", "knee", "mark knee")] : []),
      ...(notes.includes("knee") || notes.includes("front") ? [make("span", "on the Pareto front", "mark")] : []),
      ...(reason ? [make("span", reason, "mark alarm")] : []),
    );
    get("pick").hidden = !lane.command || Boolean(reason);
    get("command").replaceChildren(...split(lane.command ?? ""));
    document.querySelector('[data-copy="command"]').textContent = "Copy";
    tellStar();
    read(rowOf.get(index));
    stops();
    turnTo(cards.indexOf(cardOf.get(index)));
    show();
    if (open) {
      get("announce").textContent = lane.alt;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      get("viewer").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
      stage.focus({ preventScroll: true });
    }
    history.replaceState(null, "", `#lane=${lane.lane}`);
  }

  // Stars are kept in the browser, under the place of this page and the lanes of its run.
  const place = `jaxstyle stars ${location.pathname} ${data.run}`;
  function stored() {
    try {
      return JSON.parse(localStorage.getItem(place) ?? "[]");
    } catch {
      return []; // the browser keeps nothing for this page
    }
  }
  const stars = new Set(stored().filter((number) => data.lanes.some((lane) => lane.lane === number && lane.grid)));

  function tellStar() {
    const lane = data.lanes[current];
    const on = stars.has(lane.lane);
    get("star").hidden = !lane.grid;
    get("star").setAttribute("aria-pressed", String(on));
    get("star").replaceChildren(on ? "★ Starred " : "☆ Star ", make("kbd", "P"));
  }

  // Write the command that makes some lanes again: with lists of values, if the lanes are all of their combinations.
  function sweepOf(lanes) {
    const names = Object.keys(lanes[0].settings);
    const values = names.map((name) => [...new Set(lanes.map((lane) => lane.settings[name]))]);
    const different = new Set(lanes.map((lane) => lane.grid)).size;
    const lists = values.reduce((product, some) => product * some.length, 1) === different;
    const flag = (name) => `--${name.replaceAll("_", "-")}`;
    const settings = lists ? names.map((name, i) => [flag(name), ...values[i]].join(" ")) : ["--grid picked.toml"];
    const one = new Set(lanes.map(pairOf)).size === 1;
    const words = ["jaxstyle sweep", one ? lanes[0].inputs : data.sweep.inputs, ...settings, data.sweep.options];
    return { command: words.filter(Boolean).join(" "), lists };
  }

  function showStars() {
    for (const [index, card] of cardOf) card.classList.toggle("starred", stars.has(data.lanes[index].lane));
    const lanes = data.lanes.filter((lane) => stars.has(lane.lane));
    get("starred").hidden = !lanes.length;
    if (!lanes.length) return;
    get("stars").replaceChildren(...lanes.map((lane) => {
      const link = make("a", `lane ${lane.lane}: ${lane.label}`);
      link.href = `#lane-${data.lanes.indexOf(lane)}`;
      link.dataset.index = data.lanes.indexOf(lane);
      return link;
    }));
    get("grid").textContent = [...new Set(lanes.map((lane) => lane.grid))].join("\n");
    const { command, lists } = sweepOf(lanes);
    get("sweep").replaceChildren(...split(command));
    get("needs").hidden = lists;
    for (const button of all('[data-copy="grid"], [data-copy="sweep"]')) button.textContent = "Copy";
  }

  function star(change) {
    change();
    try {
      localStorage.setItem(place, JSON.stringify([...stars]));
    } catch {} // the stars last as long as the page
    tellStar();
    showStars();
  }
  function turnStar() {
    const { lane, grid } = data.lanes[current];
    if (grid) star(() => stars.delete(lane) || stars.add(lane));
  }
  get("star").addEventListener("click", turnStar);
  get("unstar").addEventListener("click", () => star(() => stars.clear()));

  // Find the lane that has the value asked for, and otherwise differs least from the current one.
  function nearest(asked) {
    const here = data.lanes[current];
    const cost = (lane) => {
      let sum = 0;
      for (const kind of ["content", "style"]) {
        if (lane[kind] !== (asked[kind] ?? here[kind])) sum += kind in asked ? 1e6 : 1e3;
      }
      lane.ranks.forEach((rank, axis) => {
        const apart = Math.abs(rank - (asked.axis === axis ? asked.rank : here.ranks[axis])) / data.axes[axis].length;
        sum += asked.axis === axis ? apart * 1e9 : apart;
      });
      return sum;
    };
    const costs = data.lanes.map(cost);
    return costs.indexOf(Math.min(...costs));
  }

  function step(axis, by) {
    if (!data.axes.length) return select(Math.min(Math.max(current + by, 0), data.lanes.length - 1));
    if (axis >= data.axes.length) return;
    const here = data.lanes[current].ranks[axis];
    for (let rank = here + by; rank >= 0 && rank < data.axes[axis].length; rank += by) {
      const found = nearest({ axis, rank });
      if (data.lanes[found].ranks[axis] === rank) return select(found);
    }
  }

  // Divide the cards into pages.
  const pages = Math.ceil(cards.length / data.page);
  let page = -1;
  function turn(to) {
    if (to === page || to < 0 || to >= pages) return;
    page = to;
    const first = page * data.page;
    cards.forEach((card, i) => { card.hidden = i < first || i >= first + data.page; });
    get("pages").hidden = pages < 2;
    const last = Math.min(first + data.page, cards.length);
    get("pages").querySelector("span").textContent = `${first + 1} to ${last} of ${cards.length.toLocaleString("en")}`;
    for (const button of all("#pages button")) button.disabled = !(page + Number(button.dataset.turn) in [...Array(pages)]);
    stops();
  }
  const turnTo = (card) => turn(Math.floor(card / data.page));

  // A group of lanes has one tab stop; arrow keys move within the group.
  const groups = [get("cards"), ...all(".plane"), get("table").tBodies[0]];
  const members = (group) => all(".card:not([hidden]), .point:not(.other), th a", group);
  function stops() {
    for (const group of groups) {
      for (const element of all('[tabindex="0"]', group)) element.tabIndex = -1;
      const inside = members(group);
      const stop = inside.find((element) => Number(element.dataset.index) === current) ?? inside[0];
      if (stop) stop.tabIndex = 0;
    }
  }
  for (const element of groups.flatMap(members)) element.tabIndex = -1;
  for (const group of groups) {
    const plane = group.classList.contains("plane");
    group.addEventListener("keydown", (event) => {
      const inside = members(group);
      const columns = getComputedStyle(group).gridTemplateColumns;
      const across = columns === "none" ? 1 : columns.split(" ").length;
      if (plane) inside.sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x);
      const at = inside.indexOf(event.target.closest("[data-index]"));
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across, Home: 0, End: inside.length - 1 }[event.key];
      if (to === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      inside[to]?.focus();
    });
  }

  // Show a lane's name and picture beside its point or line that has the pointer or the focus.
  const tip = get("tip");
  function hint(event) {
    const element = event.target.closest?.(".point, .line");
    tip.hidden = !element;
    if (!element) return;
    const index = Number(element.dataset.index);
    const small = cardOf.get(index).querySelector("img")?.src;
    const image = tip.querySelector("img");
    if (small) image.src = small; else image.removeAttribute("src");
    tip.querySelector("span").textContent = element.getAttribute("aria-label") ?? `Lane ${data.lanes[index].lane}: ${data.lanes[index].label}`;
    const box = element.getBoundingClientRect();
    const x = event.type === "focusin" ? box.x + box.width / 2 : event.clientX;
    const y = event.type === "focusin" ? box.y + box.height / 2 : event.clientY;
    const left = Math.min(x + 18, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const top = y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 18 : y + 18;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  }
  for (const type of ["pointerover", "focusin"]) document.addEventListener(type, hint);

  document.addEventListener("click", (event) => {
    const turned = event.target.closest("[data-turn]");
    if (turned) return turn(page + Number(turned.dataset.turn));
    const viewed = event.target.closest("[data-view]");
    if (viewed) return look(viewed.dataset.view);
    const element = event.target.closest("[data-index]");
    if (!element || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    tip.hidden = true;
    select(Number(element.dataset.index), { open: true });
  });

  document.addEventListener("input", (event) => {
    const { axis, kind } = event.target.dataset;
    if (axis) select(nearest({ axis: Number(axis), rank: Number(event.target.value) }));
    if (kind) select(nearest({ [kind]: Number(event.target.value) }));
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    if (event.key === "Escape") { tip.hidden = true; view = "result"; show(); }
    const name = { c: "content", s: "style", d: "difference" }[event.key.toLowerCase()];
    if (name) look(name);
    if (event.key.toLowerCase() === "p") turnStar();
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key];
    const free = event.target === stage || (event.target === document.body && by?.[0] === 0);
    if (!by || !free || by[0] >= Math.max(data.axes.length, 1)) return;
    event.preventDefault();
    step(...by);
  });

  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = get(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
      }
    });
  }

  // A click on a heading sorts by that column, a second one reverses the order; cells without a number come last.
  const heads = all("#table thead th");
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const one of heads) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = get("table").tBodies[0];
    const keys = new Map([...body.rows].map((row) => [row, row.cells[column].textContent]));
    const numeric = [...keys.values()].some((text) => text.trim() && !Number.isNaN(Number(text)));
    const compare = (a, b) => {
      if (!numeric) return (up ? 1 : -1) * keys.get(a).localeCompare(keys.get(b));
      const [x, y] = [Number(keys.get(a)), Number(keys.get(b))];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return (up ? 1 : -1) * (x - y);
    };
    body.append(...[...body.rows].sort(compare));
  }));

  get("viewer").hidden = false;
  const asked = /^#lane=(\d+)$/.exec(location.hash);
  const found = asked ? data.lanes.findIndex((lane) => lane.lane === Number(asked[1])) : -1;
  select(found < 0 ? data.start : found);
  showStars();

  // A page that follows its run notes how it was looked at, before it loads itself anew.
  try {
    const kept = JSON.parse(sessionStorage.getItem("jaxstyle looked at") ?? "null");
    sessionStorage.removeItem("jaxstyle looked at");
    if (kept?.page === location.pathname) {
      if (kept.view !== view) look(kept.view);
      document.querySelector(kept.focus)?.focus({ preventScroll: true });
      scrollTo(kept.x, kept.y);
    }
  } catch {} // the browser keeps nothing for this page
})();
