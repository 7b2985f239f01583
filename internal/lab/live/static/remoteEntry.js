// @nbserv/live: when a notebook is opened whose kernel still works on cells that another page asked it to run, what they
// print goes on appearing; when that page is gone, what they ask for can be typed. JupyterLab itself forgets its requests
// with the page. And a page that opens nothing shows the launcher and the folder's files as soon as it has its layout.
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
          msg_id: randomID(), msg_type: 'input_reply', session: this.session ?? '',
          username: '', date: new Date().toISOString(), version: '5.4'
        }
      });
    }

    registerMessageHook() {}
    removeMessageHook() {}
    dispose() { this.isDisposed = true; this.end(); }
  }

  const randomID = () => crypto.randomUUID?.() ?? String(Math.random()); // there is none on pages without TLS

  /** How often is asked whether the page that cells run for is still there, in milliseconds. */
  const lookAgain = 5000;

  /** Joins the cells of a notebook to what its kernel still does for other pages. */
  class Resumer {
    constructor(panel, { ServerConnection, URLExt }) {
      Object.assign(this, { panel, ServerConnection, URLExt });
      this.joins = new Map(); // by the other page's session
      this.looks = Promise.resolve();
      panel.disposed.connect(() => this.close());
    }

    close() {
      clearTimeout(this.timer);
      const joins = [...this.joins.values()];
      this.joins.clear();
      joins.forEach(join => join.socket.close());
    }

    /** Looks, one at a time, and again as long as there is something to wait for. */
    refresh() {
      this.looks = this.looks.then(() => this.look())
        .catch(e => console.warn(`${name}: cannot ask for running cells`, e))
        .then(() => {
          clearTimeout(this.timer);
          if (this.joins.size > 0) { this.timer = setTimeout(() => this.refresh(), lookAgain); }
        });
      return this.looks;
    }

    async look() {
      const kernel = this.panel.sessionContext.session?.kernel;
      if (this.kernel !== kernel?.id) { this.close(); }
      this.kernel = kernel?.id;
      if (!kernel || this.panel.isDisposed) { return; }
      const settings = kernel.serverSettings;
      const url = this.URLExt.join(settings.baseUrl, 'api/kernels', encodeURIComponent(kernel.id), 'executions');
      const answer = await this.ServerConnection.makeRequest(url, {}, settings);
      if (!answer.ok || this.panel.isDisposed) { return this.close(); }
      const others = new Map();
      for (const x of await answer.json()) {
        if (x.client_session === kernel.clientId || !this.cell(x)) { continue; } // JupyterLab knows its own
        others.set(x.client_session, [...(others.get(x.client_session) ?? []), x]);
      }
      for (const [session, join] of this.joins) {
        if (others.has(session)) { continue; }
        // It has ended: the last of what it said is on its way, or was lost with the kernel.
        if (join.ending) {
          join.open.forEach(x => this.finish(x));
          this.leave(session);
        }
        join.ending = true;
      }
      for (const [session, executions] of others) {
        const heir = executions[0].orphaned;
        const join = this.joins.get(session);
        const known = join?.heir || !heir && executions.every(x => join?.open.has(x.msg_id));
        if (join && !join.over && known) { continue; }
        this.leave(session);
        this.join(settings, kernel.id, session, executions, heir);
      }
    }

    leave(session) {
      const join = this.joins.get(session);
      this.joins.delete(session);
      join?.socket.close();
    }

    cell(execution) {
      return this.panel.content.widgets.find(c => c.model.type === 'code' && c.model.id === execution.cell_id);
    }

    /**
     * Has what was said since a page's first execution come again, and go on. An heir takes the place of a page that is
     * gone, to which prompts come as well. Beside a page that is there one only listens.
     */
    join(settings, kernel, session, executions, heir) {
      const as = heir ? session : randomID();
      let url = this.URLExt.join(settings.wsUrl, 'api/kernels', encodeURIComponent(kernel), 'channels')
        + `?session_id=${encodeURIComponent(as)}&since=${encodeURIComponent(executions[0].position)}`;
      if (settings.appendToken && settings.token) { url += `&token=${encodeURIComponent(settings.token)}`; }
      const socket = new settings.WebSocket(url);
      socket.binaryType = 'arraybuffer';
      const open = new Map(executions.map(x => [x.msg_id, x]));
      const join = { heir, socket, open, over: false, ending: false };
      this.joins.set(session, join);
      const mine = () => this.joins.get(session) === join;
      socket.onclose = event => {
        join.over = true; // unless it is all done, the next look joins again
        if (mine() && event.code === 1000) { void this.refresh(); } // another page has taken the place
      };
      socket.onmessage = frame => {
        if (!mine()) { return; }
        const message = decode(frame.data);
        const x = open.get(message.parent_header?.msg_id);
        if (!x) { return; }
        x.future ??= this.begin(x, message, socket, session);
        x.future?.take(message);
        this.progress(x, message);
        if (x.idle && (x.replied || !heir)) { // replies come to their page only
          open.delete(x.msg_id);
          this.finish(x);
          if (open.size === 0) { this.leave(session); }
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
      if (x.future && cell && !cell.isDisposed) {
        cell.model.executionCount = x.execution_count ?? null;
        cell.model.executionState = 'idle';
        cell.setPrompt(x.execution_count ? String(x.execution_count) : '');
      }
      x.future?.end();
    }
  }

  /** Whether the address asks for no more than JupyterLab: no file, no folder, nothing that an extension may want. */
  const asksForNothing = PageConfig => !PageConfig.getOption('treePath')
    && [...new URLSearchParams(window.location.search).keys()].every(key => key === 'token');

  /**
   * Restores the file browser and adds a launcher to an empty page, which JupyterLab does by itself once the workspace is
   * saved, one second later (twice the wait of a debouncer). It finds it done then.
   */
  async function openAtOnce(app, shell, browser) {
    if (browser) {
      await browser.model.restore(browser.id);
      void browser.model.refresh().then(() => browser.removeClass('jp-mod-restoring'));
    }
    if (shell.isEmpty('main') && app.commands.hasCommand('launcher:create')) {
      await app.commands.execute('launcher:create');
    }
  }

  const container = {
    init(scope) { shared = scope; },
    async get() {
      const { INotebookTracker } = await load('@jupyterlab/notebook');
      const { ServerConnection } = await load('@jupyterlab/services');
      const { PageConfig, URLExt } = await load('@jupyterlab/coreutils');
      const { ILabShell } = await load('@jupyterlab/application');
      const { IDefaultFileBrowser } = await load('@jupyterlab/filebrowser');
      const resume = {
        id: `${name}:resume`,
        description: 'Outputs of cells that still run go on appearing after a reload.',
        autoStart: true,
        requires: [INotebookTracker],
        activate(app, tracker) {
          tracker.widgetAdded.connect(async (_, panel) => {
            const resumer = new Resumer(panel, { ServerConnection, URLExt });
            await Promise.all([panel.context.ready, panel.revealed]);
            panel.sessionContext.kernelChanged.connect(() => resumer.refresh());
            await resumer.refresh();
          });
        }
      };
      const opening = {
        id: `${name}:opening`,
        description: 'A page that opens nothing shows the launcher at once.',
        autoStart: true,
        optional: [ILabShell, IDefaultFileBrowser],
        activate(app, shell, browser) {
          if (!shell || !asksForNothing(PageConfig)) { return; } // Notebook 7 has no such shell
          app.restored.then(() => openAtOnce(app, shell, browser))
            .catch(e => console.warn(`${name}: cannot show the launcher at once`, e));
        }
      };
      return () => ({ default: [resume, opening], __esModule: true });
    }
  };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[name] = container;
})();
