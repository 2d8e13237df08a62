"use strict";
(() => {
  const root = document.documentElement;
  const sign = document.getElementById("live");
  const parts = (main) => new Map([...main.querySelectorAll("[data-part]")].map((p) => [p.id, p]));
  const texts = (map) => new Map([...map].map(([id, part]) => [id, part.outerHTML]));
  let main = document.querySelector("main");
  let served = texts(parts(main));
  let updates = 0;
  let timer = 0;

  /* For whoever looks at the page from outside. */
  const report = () => {
    root.dataset.updates = updates;
    root.dataset.scrollWidth = root.scrollWidth;
  };

  const say = (text, lost) => {
    if (sign.textContent !== text) sign.textContent = text;
    sign.classList.toggle("lost", lost);
  };

  /* A path to an element that finds its successor after a swap. */
  const name = (element) => {
    if (element.id) return "#" + CSS.escape(element.id);
    const above = element.parentElement.closest("[id]");
    const own = element.localName + (element.hasAttribute("href")
      ? `[href="${CSS.escape(element.getAttribute("href"))}"]` : "");
    return "#" + CSS.escape(above.id) + " " + own;
  };

  const swap = (old, next) => {
    const open = [...old.querySelectorAll("details[open]")].map(name);
    const rolled = [...old.querySelectorAll(".scroll")].map((e) => [name(e), e.scrollTop, e.scrollLeft]);
    const focused = old.contains(document.activeElement) ? name(document.activeElement) : null;
    old.replaceWith(next);
    for (const path of open) document.querySelector(path)?.setAttribute("open", "");
    for (const [path, top, left] of rolled) document.querySelector(path)?.scrollTo(left, top);
    if (focused) document.querySelector(focused)?.focus({ preventScroll: true });
  };

  /* Only what has changed is swapped: a chart that is pointed at stays. */
  const update = (next) => {
    const [now, then] = [parts(main), parts(next)];
    const wanted = texts(then);
    if ([...now.keys()].join() === [...then.keys()].join()) {
      for (const [id, part] of then) if (served.get(id) !== wanted.get(id)) swap(now.get(id), part);
    } else {
      swap(main, next);
      main = next;
    }
    served = wanted;
    updates += 1;
  };

  const selecting = () => {
    const selection = getSelection();
    return !selection.isCollapsed && main.contains(selection.anchorNode);
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (!document.hidden && !selecting()) {
      const [left, top] = [scrollX, scrollY];
      try {
        const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(10000) });
        if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        update(page.querySelector("main"));
        scrollTo(left, top);
        say("Live", false);
      } catch (error) {
        say(error.message.startsWith("the server") ? error.message : "No answer from the server", true);
      }
      report();
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, 2000);
  };

  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  say("Live", false);
  report();
  timer = setTimeout(refresh, 2000);
})();
