// Every case at every checkpoint as a picture: a canvas as large as the window onto it, so that 200,000 cells scroll
// as smoothly as 200. The canvas is one stop for the tab key; arrows move a cursor, Enter opens the case.

const GROUP_HEIGHT = 24;
const HEAD_HEIGHT = 30;

let lastSeen = null; // where the reader was in the heat map: kept while a case is looked at and while new reports arrive

class HeatMap {
  constructor(model, numbers) {
    this.model = model;
    this.line = findLine(model);
    this.columns = this.line.columns;
    this.rows = arrangeRows(model, this.line, numbers);
    this.cursor = null;
    this.colors = readHeatColors(model);
    this.canvas = el("canvas", { class: "heat-canvas" });
    this.spacer = el("div", { class: "heat-spacer" });
    this.scroller = el("div", { class: "heat", tabindex: "0", role: "application", "aria-label": `Heat map: ${formatCount(numbers.length, "case")} by ${formatCount(this.columns.length, "checkpoint")}. Arrow keys move, Enter opens the case.` }, this.canvas, this.spacer);
    this.tip = el("div", { class: "tip", hidden: true });
    this.listen();
  }

  listen() {
    const { scroller } = this;
    scroller.addEventListener("scroll", () => { this.remember(); this.schedule(); }, { passive: true });
    scroller.addEventListener("pointermove", (event) => this.onPointer(event));
    scroller.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    scroller.addEventListener("click", (event) => this.onClick(event));
    scroller.addEventListener("keydown", (event) => this.onKey(event));
    scroller.addEventListener("focus", () => { if (!this.cursor) this.moveCursor(0, 0, true); });
    scroller.addEventListener("blur", () => { this.tip.hidden = true; this.schedule(); });
    new ResizeObserver(() => this.layout()).observe(scroller);
  }

  layout() {
    const width = this.scroller.clientWidth;
    if (!width) return;
    const narrow = width < 520;
    this.rowHeight = state.dense ? 5 : narrow ? 22 : 20;
    this.gutter = state.dense ? 0 : narrow ? Math.min(118, Math.floor(width / 2.6)) : this.measureLabels(width);
    const space = width - this.gutter - 2;
    this.cell = Math.max(state.dense ? 3 : narrow ? 12 : 5, Math.min(96, Math.floor(space / Math.max(1, this.columns.length))));
    let y = 0;
    for (const row of this.rows) {
      row.y = y;
      row.height = row.group === undefined ? this.rowHeight : state.dense ? 8 : GROUP_HEIGHT;
      y += row.height;
    }
    this.total = y;
    this.scroller.style.height = `${y + HEAD_HEIGHT + 4}px`;
    this.spacer.style.height = `${y + HEAD_HEIGHT}px`;
    this.spacer.style.width = `${this.gutter + this.cell * this.columns.length}px`;
    this.height = Math.min(this.scroller.clientHeight, y + HEAD_HEIGHT + 1);
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(this.scroller.clientHeight * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.scroller.clientHeight}px`;
    this.ratio = ratio;
    this.restore();
    this.draw();
  }

  describePlace() {
    return [state.line, state.category, state.status, state.text, state.sort, state.dense].join("\n");
  }

  remember() {
    if (this.restored) lastSeen = { place: this.describePlace(), top: this.scroller.scrollTop, left: this.scroller.scrollLeft, cursor: this.cursor };
  }

  restore() {
    if (!this.restored && lastSeen?.place === this.describePlace()) {
      this.scroller.scrollTop = lastSeen.top;
      this.scroller.scrollLeft = lastSeen.left;
      const { cursor } = lastSeen;
      if (cursor && this.rows[cursor.row]?.group === undefined && cursor.row < this.rows.length && cursor.column < this.columns.length) this.cursor = cursor;
    }
    this.restored = true;
  }

  // Room for labels: names too where there are few checkpoints.
  measureLabels(width) {
    return Math.max(200, Math.min(460, width - 64 * this.columns.length - 4, Math.floor(width / 2.2)));
  }

  schedule() {
    this.pending ??= requestAnimationFrame(() => { this.pending = null; this.draw(); });
  }

  // First row that reaches below `y`, by bisection: rows know where they are.
  findRow(y) {
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].y + this.rows[middle].height <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { clientWidth: width, clientHeight: height, scrollLeft: left, scrollTop: top } = this.scroller;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = this.colors.panel;
    context.fillRect(0, 0, width, height);
    const first = Math.max(0, Math.floor(left / this.cell));
    const last = Math.min(this.columns.length - 1, Math.floor((left + width - this.gutter) / this.cell));
    for (let r = this.findRow(top); r < this.rows.length && this.rows[r].y - top < height - HEAD_HEIGHT; r++) {
      const row = this.rows[r];
      const y = row.y - top + HEAD_HEIGHT;
      if (row.group === undefined) this.drawCells(context, row, y, first, last, left);
    }
    context.fillStyle = this.colors.panel;
    if (this.gutter) context.fillRect(0, 0, this.gutter, height);
    this.drawLabels(context, top, height, width);
    context.fillStyle = this.colors.panel;
    context.fillRect(0, 0, width, HEAD_HEIGHT);
    this.drawHead(context, first, last, left);
    this.drawCursor(context, left, top);
  }

  drawCells(context, row, y, first, last, left) {
    const gap = this.cell >= 8 && !state.dense ? 1 : 0;
    const tall = this.rowHeight - (this.rowHeight >= 8 ? 1 : 0);
    const dotted = this.cell >= 6 && tall >= 8;
    for (let c = first; c <= last; c++) {
      const column = this.columns[c];
      const status = column.statuses[row.number];
      if (!status) continue;
      const { decided, passed } = this.model.statuses[status];
      const x = this.gutter + c * this.cell - left;
      context.fillStyle = decided && !passed ? this.colors.failed[Math.max(0, Math.min(8, Math.floor(column.scores[row.number]) || 0))] : this.colors.status[status];
      context.fillRect(x, y, this.cell - gap, tall);
      if (dotted && markNewlyBroken(this.model, column)[row.number]) this.drawMark(context, x, y, tall, gap);
    }
  }

  // A dot on cases that this checkpoint newly broke: not by colour alone.
  drawMark(context, x, y, tall, gap) {
    context.fillStyle = this.colors.mark;
    context.beginPath();
    context.arc(x + (this.cell - gap) / 2, y + tall / 2, Math.min(3.2, this.cell / 4), 0, 7);
    context.fill();
  }

  drawLabels(context, top, height, width) {
    if (!this.gutter) return;
    context.textBaseline = "middle";
    for (let r = this.findRow(top); r < this.rows.length && this.rows[r].y - top < height - HEAD_HEIGHT; r++) {
      const row = this.rows[r];
      const y = row.y - top + HEAD_HEIGHT + row.height / 2;
      context.font = row.group === undefined ? "12px ui-monospace, monospace" : "600 12px system-ui, sans-serif";
      context.fillStyle = row.group === undefined ? this.colors.text : this.colors.muted;
      if (row.group === undefined) this.drawLabel(context, this.model.cases[row.number], y);
      else context.fillText(fitText(context, escapeHidden(row.group), width - 12), 4, y);
    }
  }

  // The id, and the name after it where there is room.
  drawLabel(context, { id, name }, y) {
    const text = fitText(context, escapeHidden(id), this.gutter - 12);
    context.fillText(text, 4, y);
    const used = context.measureText(text).width + 16;
    if (name === id || this.gutter - used < 60) return;
    context.fillStyle = this.colors.muted;
    context.fillText(fitText(context, escapeHidden(name), this.gutter - used - 10), used, y);
  }

  drawHead(context, first, last, left) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    const every = Math.max(1, Math.ceil(38 / this.cell));
    for (let c = Math.ceil(first / every) * every; c <= last; c += every) {
      const x = Math.max(this.gutter + 4, this.gutter + c * this.cell - left + this.cell / 2);
      context.textAlign = x < this.gutter + 16 ? "left" : "center";
      context.fillStyle = this.cursor?.column === c ? this.colors.text : this.colors.muted;
      context.fillText(this.columns[c].label, x, HEAD_HEIGHT / 2);
    }
    context.textAlign = "left";
    if (this.gutter) {
      context.fillStyle = this.colors.panel;
      context.fillRect(0, 0, this.gutter, HEAD_HEIGHT);
      context.fillStyle = this.colors.muted;
      context.fillText("case · step →", 4, HEAD_HEIGHT / 2);
    }
  }

  drawCursor(context, left, top) {
    if (!this.cursor || document.activeElement !== this.scroller) return;
    const row = this.rows[this.cursor.row];
    const y = row.y - top + HEAD_HEIGHT;
    const x = this.gutter + this.cursor.column * this.cell - left;
    if (y < HEAD_HEIGHT - row.height || x < this.gutter - this.cell) return;
    context.strokeStyle = this.colors.text;
    context.lineWidth = 2;
    context.strokeRect(x - 0.5, y - 0.5, this.cell, this.rowHeight);
  }

  findCell(event) {
    const box = this.scroller.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (y < HEAD_HEIGHT || !this.rows.length) return null;
    const row = this.findRow(y - HEAD_HEIGHT + this.scroller.scrollTop);
    if (this.rows[row].group !== undefined || this.rows[row].y + this.rows[row].height <= y - HEAD_HEIGHT + this.scroller.scrollTop) return null;
    const column = Math.floor((x - this.gutter + this.scroller.scrollLeft) / this.cell);
    return { row, column: x < this.gutter ? null : column < this.columns.length ? column : null };
  }

  onPointer(event) {
    const found = this.findCell(event);
    if (!found || found.column === null) { this.tip.hidden = true; return; }
    this.showTip(found, event.clientX, event.clientY);
  }

  showTip({ row, column }, x, y) {
    const { number } = this.rows[row];
    const checkpoint = this.columns[column];
    const result = describeResult(this.model, checkpoint, number, ", score ");
    replaceChildren(this.tip, el("strong", {}, show(this.model.cases[number].id)), el("span", { text: `${describeStep(checkpoint)}: ${result}` }));
    this.tip.hidden = false;
    const width = this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 8))}px`;
    this.tip.style.top = `${Math.min(y + 14, innerHeight - this.tip.offsetHeight - 8)}px`;
  }

  onClick(event) {
    const found = this.findCell(event);
    if (found) this.openCase(found.row, found.column ?? this.columns.length - 1);
  }

  openCase(row, column) {
    const after = this.columns[column];
    const before = findCompanion(this.model, this.line, after);
    go({ page: "case", id: this.model.cases[this.rows[row].number].id, a: before.key, b: after.key });
  }

  onKey(event) {
    const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [20, 0], PageUp: [-20, 0], Home: [0, -this.columns.length], End: [0, this.columns.length] };
    if (event.key === "Enter" && this.cursor) this.openCase(this.cursor.row, this.cursor.column);
    else if (event.key in steps) this.moveCursor(...steps[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveCursor(down, right, quiet = false) {
    if (!this.rows.length || !this.columns.length) return;
    let row = this.cursor ? this.cursor.row + down : 0;
    const direction = down < 0 ? -1 : 1;
    row = Math.max(0, Math.min(this.rows.length - 1, row));
    while (this.rows[row] && this.rows[row].group !== undefined) row += direction;
    if (!this.rows[row]) row = this.cursor?.row ?? this.rows.findIndex(({ group }) => group === undefined);
    const column = Math.max(0, Math.min(this.columns.length - 1, (this.cursor?.column ?? this.columns.length - 1) + right));
    this.cursor = { row, column };
    this.revealCursor();
    this.remember();
    this.draw();
    if (quiet) return;
    const { number } = this.rows[row];
    const checkpoint = this.columns[column];
    const box = this.scroller.getBoundingClientRect();
    this.showTip(this.cursor, box.left + this.gutter + (column + 1) * this.cell - this.scroller.scrollLeft, box.top + HEAD_HEIGHT + this.rows[row].y - this.scroller.scrollTop);
    announce(`${escapeHidden(this.model.cases[number].id)}, ${describeStep(checkpoint)}, ${getStatus(this.model, checkpoint, number).text}`);
  }

  revealCursor() {
    const row = this.rows[this.cursor.row];
    const { scroller } = this;
    const visible = scroller.clientHeight - HEAD_HEIGHT - row.height;
    scroller.scrollTop = Math.max(row.y - visible, Math.min(scroller.scrollTop, row.y));
    const x = this.cursor.column * this.cell;
    scroller.scrollLeft = Math.max(x - (scroller.clientWidth - this.gutter - this.cell), Math.min(scroller.scrollLeft, x));
  }
}
