// @nbserv/live: when a notebook is opened whose kernel still works on cells that a page before asked it to run, what they
// print goes on appearing, and what they ask for can be typed. JupyterLab itself forgets its requests with the page.
//
// A prebuilt extension of JupyterLab 4 without a build: what webpack's container would be is written by hand.
(() => {
  'use strict';
  const name = '@nbserv/live';
  let shared;

  /** A module of JupyterLab's own, in whatever version it has. */
  async function load(module) {
    const versions = Object.values(shared[module]);
    return (await versions[0].get())();
  }

  /** The message in a WebSocket frame of the default protocol: JSON, or a list of offsets, JSON and buffers. */
  function decode(data) {
    if (typeof data === 'string') { return JSON.parse(data); }
    const view = new DataView(data);
    const offsets = Array.from({ length: view.getUint32(0) }, (_, i) => view.getUint32(4 * (i + 1)));
    const ends = [...offsets.slice(1), data.byteLength];
    const message = JSON.parse(new TextDecoder().decode(data.slice(offsets[0], ends[0])));
    message.buffers = offsets.slice(1).map((from, i) => new DataView(data, from, ends[i + 1] - from));
    return message;
  }

  /** Stands for JupyterLab's own future of a request that another page made. */
  class Future {
    constructor(execution, send) {
      this.msg = { header: { msg_id: execution.msg_id }, content: {} };
      this.isDisposed = false;
      this.send = send;
      this.onIOPub = this.onReply = this.onStdin = () => {};
      this.done = new Promise(resolve => { this.end = resolve; });
    }

    take(message) {
      const on = { iopub: this.onIOPub, shell: this.onReply, stdin: this.onStdin }[message.channel];
      if (on) { void on(message); }
    }

    sendInputReply(content, parent) {
      this.send({
        channel: 'stdin', content, parent_header: parent, metadata: {}, buffers: [],
        header: {
          msg_id: crypto.randomUUID?.() ?? String(Math.random()), msg_type: 'input_reply', session: this.session ?? '',
          username: '', date: new Date().toISOString(), version: '5.4'
        }
      });
    }

    registerMessageHook() {}
    removeMessageHook() {}
    dispose() { this.isDisposed = true; this.end(); }
  }

  /** Joins the cells of a notebook to what its kernel still does for a page that is gone. */
  class Resumer {
    constructor(panel, { ServerConnection, URLExt }) {
      Object.assign(this, { panel, ServerConnection, URLExt, sockets: [] });
      panel.disposed.connect(() => this.close());
    }

    close() {
      this.sockets.forEach(s => s.close());
      this.sockets = [];
    }

    async look() {
      const kernel = this.panel.sessionContext.session?.kernel;
      if (!kernel || this.kernel === kernel.id) { return; }
      this.kernel = kernel.id;
      const settings = kernel.serverSettings;
      const url = this.URLExt.join(settings.baseUrl, 'api/kernels', encodeURIComponent(kernel.id), 'executions');
      const answer = await this.ServerConnection.makeRequest(url, {}, settings);
      if (!answer.ok) { return; }
      const orphans = (await answer.json()).filter(x => x.orphaned && this.cell(x));
      const sessions = new Map();
      for (const x of orphans) { sessions.set(x.client_session, [...(sessions.get(x.client_session) ?? []), x]); }
      sessions.forEach((executions, session) => this.join(settings, kernel.id, session, executions));
    }

    cell(execution) {
      return this.panel.content.widgets.find(c => c.model.type === 'code' && c.model.id === execution.cell_id);
    }

    /** Takes the place of the page that is gone: what was said since its first execution comes again, and goes on. */
    join(settings, kernel, session, executions) {
      let url = this.URLExt.join(settings.wsUrl, 'api/kernels', encodeURIComponent(kernel), 'channels')
        + `?session_id=${encodeURIComponent(session)}&since=${encodeURIComponent(executions[0].position)}`;
      if (settings.appendToken && settings.token) { url += `&token=${encodeURIComponent(settings.token)}`; }
      const socket = new settings.WebSocket(url);
      socket.binaryType = 'arraybuffer';
      this.sockets.push(socket);
      const open = new Map(executions.map(x => [x.msg_id, x]));
      socket.onmessage = frame => {
        const message = decode(frame.data);
        const x = open.get(message.parent_header?.msg_id);
        if (!x) { return; }
        x.future ??= this.begin(x, message, socket, session);
        x.future?.take(message);
        this.progress(x, message);
        if (x.replied && x.idle) {
          open.delete(x.msg_id);
          this.finish(x);
          if (open.size === 0) { socket.close(); }
        }
      };
    }

    /** Hands the cell's outputs over, to be made again from the first message on. Without that one they stay. */
    begin(x, first, socket, session) {
      const cell = this.cell(x);
      if (!cell || cell.isDisposed) { return null; }
      const before = cell.outputArea.model.toJSON();
      const future = new Future(x, m => socket.send(JSON.stringify(m)));
      future.session = session;
      cell.outputArea.future = future;
      const whole = first.header.msg_type === 'status' && first.content.execution_state === 'busy';
      if (!whole) { cell.outputArea.model.fromJSON(before); }
      cell.model.executionState = 'running';
      cell.setPrompt('*');
      return future;
    }

    progress(x, message) {
      const { msg_type: type } = message.header;
      if (type === 'execute_input') { x.execution_count = message.content.execution_count; }
      if (type === 'execute_reply') { x.replied = true; }
      if (type === 'status' && message.content.execution_state === 'idle') { x.idle = true; }
    }

    finish(x) {
      const cell = this.cell(x);
      if (cell && !cell.isDisposed) {
        cell.model.executionCount = x.execution_count ?? null;
        cell.model.executionState = 'idle';
        cell.setPrompt(x.execution_count ? String(x.execution_count) : '');
      }
      x.future?.end();
    }
  }

  const container = {
    init(scope) { shared = scope; },
    async get() {
      const { INotebookTracker } = await load('@jupyterlab/notebook');
      const { ServerConnection } = await load('@jupyterlab/services');
      const { URLExt } = await load('@jupyterlab/coreutils');
      const plugin = {
        id: `${name}:resume`,
        description: 'Outputs of cells that still run go on appearing after a reload.',
        autoStart: true,
        requires: [INotebookTracker],
        activate(app, tracker) {
          tracker.widgetAdded.connect(async (_, panel) => {
            const resumer = new Resumer(panel, { ServerConnection, URLExt });
            const look = () => resumer.look().catch(e => console.warn(`${name}: cannot ask for running cells`, e));
            await Promise.all([panel.context.ready, panel.revealed]);
            panel.sessionContext.kernelChanged.connect(look);
            await look();
          });
        }
      };
      return () => ({ default: plugin, __esModule: true });
    }
  };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[name] = container;
})();
