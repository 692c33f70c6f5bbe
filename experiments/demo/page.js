// A click on a source's number opens its passage, lights up its words, and brings them into view.
element.addEventListener("click", (event) => {
  const link = event.target.closest("button.cite");
  if (!link) return;
  const passages = document.getElementById("passages");
  const passage = passages?.querySelector(`details.passage[data-rank="${link.dataset.rank}"]`);
  if (!passage) return;
  passages.querySelectorAll("mark.on").forEach((mark) => mark.classList.remove("on"));
  passages.querySelectorAll("details.here").forEach((one) => one.classList.remove("here"));
  element.querySelectorAll("button.cite.on").forEach((one) => one.classList.remove("on"));
  const marks = [...passage.querySelectorAll("mark")].filter((mark) =>
    mark.dataset.cites.split(" ").includes(link.dataset.cite)
  );
  marks.forEach((mark) => mark.classList.add("on"));
  link.classList.add("on");
  passage.open = true;
  passage.classList.add("here");
  (marks[0] ?? passage).scrollIntoView({ block: "center", behavior: "smooth" });
});
