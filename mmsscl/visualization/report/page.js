"use strict";
(() => {
  const hovers = JSON.parse(document.getElementById("hovers").textContent);
  const tip = document.getElementById("tip");

  function nearest(at, wanted) {
    let low = 0, high = at.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low > 0 && wanted - at[low - 1] < at[low] - wanted ? low - 1 : low;
  }

  function line(text, kind, value) {
    const row = document.createElement("div");
    if (kind) {
      const key = document.createElement("i");
      key.className = "key " + kind;
      row.append(key);
    }
    row.append(text);
    if (value !== undefined) {
      const bold = document.createElement("b");
      bold.textContent = value;
      row.append(bold);
    }
    return row;
  }

  for (const figure of document.querySelectorAll("[data-chart]")) {
    const hover = hovers[Number(figure.dataset.chart)];
    const svg = figure.querySelector("svg");
    const cross = document.createElement("div");
    cross.className = "cross";
    cross.hidden = true;
    figure.append(cross);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), outer = figure.getBoundingClientRect();
      const left = box.width * hover.left, width = box.width * (hover.right - hover.left);
      const share = Math.min(1, Math.max(0, (event.clientX - box.left - left) / width));
      const wanted = hover.first + share * (hover.last - hover.first);
      // the series need not be logged at the same iterations: all show what is nearest to the first's place
      const first = hover.series[0], place = nearest(first.at, wanted), at = first.at[place];
      const epoch = first.epoch[place];
      tip.replaceChildren(line("iteration " + at.toLocaleString("en") + (epoch === null ? "" : ", epoch " + epoch)));
      hover.series.forEach((series, number) => {
        tip.append(line(series.name, "s" + (number + 1), series.value[nearest(series.at, at)]));
      });
      cross.hidden = tip.hidden = false;
      cross.style.left = box.left - outer.left + left + width * (at - hover.first) / (hover.last - hover.first) + "px";
      cross.style.top = box.top - outer.top + "px";
      cross.style.height = box.height + "px";
      const size = tip.getBoundingClientRect();
      tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - size.width - 4)) + "px";
      tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - size.height - 4)) + "px";
    });
    svg.addEventListener("pointerleave", () => { cross.hidden = tip.hidden = true; });
  }

  const large = document.getElementById("large");
  function enlarge(image) {
    large.firstElementChild.src = image.src;
    large.firstElementChild.alt = image.alt;
    large.showModal();
  }
  for (const image of document.querySelectorAll(".pictures img")) {
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(image); });
  }
  large.addEventListener("click", () => large.close());
})();
