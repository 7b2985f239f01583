// JupyterLab's own library of services, @jupyterlab/services, against a running server: node services.mjs URL TOKEN
// Prints one line for each part that works, and ends with 1 at the first that does not.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const {
  ConfigSection, ContentsManager, Drive, EventManager, KernelManager, KernelSpecManager, NbConvertManager, ServerConnection,
  SessionManager, SettingManager, TerminalManager, WorkspaceManager
} = require('@jupyterlab/services');

const { PageConfig } = require('@jupyterlab/coreutils');

PageConfig.setOption('terminalsAvailable', 'true'); // as the page's configuration says

const [base, token] = process.argv.slice(2);
const serverSettings = ServerConnection.makeSettings({
  baseUrl: base, appUrl: 'lab', wsUrl: base.replace(/^http/, 'ws'), token, appendToken: true
});

const parts = [];
function part(name, run) { parts.push([name, run]); }

/** The next value of a signal for which test holds, within a minute. */
function next(signal, test = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { signal.disconnect(slot); reject(new Error('nothing came')); }, 60_000);
    function slot(_, value) {
      if (!test(value)) { return; }
      clearTimeout(timer);
      signal.disconnect(slot);
      resolve(value);
    }
    signal.connect(slot);
  });
}

part('kernelspecs', async () => {
  const specs = new KernelSpecManager({ serverSettings });
  await specs.ready;
  assert.ok(specs.specs.kernelspecs.python3);
  specs.dispose();
});

part('sessions and kernels', async () => {
  const kernels = new KernelManager({ serverSettings });
  const sessions = new SessionManager({ serverSettings, kernelManager: kernels });
  await Promise.all([kernels.ready, sessions.ready]);
  const session = await sessions.startNew({
    path: 'services.ipynb', name: 'services.ipynb', type: 'notebook', kernel: { name: 'python3' }
  });
  const kernel = session.kernel;
  const info = await kernel.info;
  assert.equal(info.language_info.name, 'python');

  const outputs = [];
  let future = kernel.requestExecute({ code: 'print(6*7)\n1/2' });
  future.onIOPub = msg => outputs.push([msg.header.msg_type, msg.content]);
  let reply = await future.done;
  assert.equal(reply.content.status, 'ok');
  assert.equal(outputs.find(o => o[0] === 'stream')[1].text, '42\n');
  assert.equal(outputs.find(o => o[0] === 'execute_result')[1].data['text/plain'], '0.5');

  future = kernel.requestExecute({ code: 'name = input("who? ")', allow_stdin: true });
  future.onStdin = msg => {
    assert.equal(msg.content.prompt, 'who? ');
    kernel.sendInputReply({ value: 'me', status: 'ok' }, msg.header);
  };
  assert.equal((await future.done).content.status, 'ok');

  const completion = await kernel.requestComplete({ code: 'nam', cursor_pos: 3 });
  assert.ok(completion.content.matches.includes('name'));
  const inspection = await kernel.requestInspect({ code: 'print', cursor_pos: 5, detail_level: 0 });
  assert.ok(inspection.content.found);
  assert.ok((await kernel.requestHistory({ output: false, raw: true, hist_access_type: 'tail', n: 5 })).content.history.length > 0);
  assert.equal((await kernel.requestIsComplete({ code: 'if x:' })).content.status, 'incomplete');

  const opened = new Promise(resolve => kernel.registerCommTarget('test', (comm, msg) => {
    comm.onMsg = m => resolve([msg.content.data, new Uint8Array(m.buffers[0].buffer ?? m.buffers[0])]);
  }));
  await kernel.requestExecute({
    code: 'from comm import create_comm\nc = create_comm(target_name="test", data={"a": 1})\nc.send({}, buffers=[b"\\x00\\xff"])'
  }).done;
  const [data, buffer] = await opened;
  assert.deepEqual(data, { a: 1 });
  assert.deepEqual([...buffer].slice(-2), [0, 255]);

  const asleep = next(kernel.iopubMessage, m => m.header.msg_type === 'stream');
  future = kernel.requestExecute({ code: 'import time\nprint("asleep", flush=True)\ntime.sleep(100)' });
  await asleep;
  await kernel.interrupt();
  reply = await future.done;
  assert.equal(reply.content.ename, 'KeyboardInterrupt');
  await kernel.restart();
  reply = await kernel.requestExecute({ code: 'name' }).done;
  assert.equal(reply.content.ename, 'NameError');

  await session.setPath('renamed.ipynb');
  await sessions.refreshRunning();
  assert.deepEqual([...sessions.running()].map(s => s.path), ['renamed.ipynb']);
  await session.shutdown();
  await sessions.refreshRunning();
  await kernels.refreshRunning();
  assert.equal([...sessions.running()].length, 0);
  assert.equal([...kernels.running()].length, 0);
  sessions.dispose();
  kernels.dispose();
});

part('contents', async () => {
  const contents = new ContentsManager({ defaultDrive: new Drive({ serverSettings }) });
  const folder = await contents.newUntitled({ path: '', type: 'directory' });
  const notebook = await contents.newUntitled({ path: folder.path, type: 'notebook' });
  const model = await contents.get(notebook.path, { content: true });
  model.content.cells.push({ cell_type: 'markdown', id: 'a', metadata: {}, source: '# Hi' });
  await contents.save(notebook.path, { type: 'notebook', format: 'json', content: model.content });
  const checkpoint = await contents.createCheckpoint(notebook.path);
  await contents.save(notebook.path, { type: 'notebook', format: 'json', content: { ...model.content, cells: [] } });
  await contents.restoreCheckpoint(notebook.path, checkpoint.id);
  assert.equal((await contents.get(notebook.path)).content.cells.length, 1);
  const renamed = await contents.rename(notebook.path, folder.path + '/b.ipynb');
  const copy = await contents.copy(renamed.path, folder.path);
  const listing = await contents.get(folder.path);
  assert.deepEqual(listing.content.map(f => f.name).sort(), [copy.name, 'b.ipynb'].sort());
  await contents.save(folder.path + '/t.txt', { type: 'file', format: 'text', content: 'text' });
  const url = await contents.getDownloadUrl(folder.path + '/t.txt');
  const res = await ServerConnection.makeRequest(url, {}, serverSettings);
  assert.equal(await res.text(), 'text');
  for (const name of [copy.path, renamed.path, folder.path + '/t.txt']) { await contents.delete(name); }
  await contents.delete(folder.path);
  await assert.rejects(contents.get(folder.path), e => e.response.status === 404);
  contents.dispose();
});

part('terminals', async () => {
  const terminals = new TerminalManager({ serverSettings });
  await terminals.ready;
  const terminal = await terminals.startNew();
  const seen = next(terminal.messageReceived, m => m.type === 'stdout' && m.content[0].includes('forty-42'));
  terminal.send({ type: 'set_size', content: [30, 100, 600, 800] });
  terminal.send({ type: 'stdin', content: ['echo forty-$((6*7))\r'] });
  await seen;
  await terminal.shutdown();
  await terminals.refreshRunning();
  assert.equal([...terminals.running()].length, 0);
  terminals.dispose();
});

part('events', async () => {
  const events = new EventManager({ serverSettings });
  const told = next(events.stream, e => e.schema_id.endsWith('contents_service/v1') && e.action === 'save');
  const contents = new ContentsManager({ defaultDrive: new Drive({ serverSettings }) });
  // The subscription is a WebSocket that opens by itself; events before that are for nobody.
  const save = setInterval(() => contents.save('e.txt', { type: 'file', format: 'text', content: '' }), 200);
  assert.equal((await told).path, 'e.txt');
  clearInterval(save);
  await events.emit({
    schema_id: 'https://events.jupyter.org/jupyter_server/contents_service/v1', version: '1', data: { action: 'get', path: 'x' }
  });
  events.dispose();
});

part('settings', async () => {
  const settings = new SettingManager({ serverSettings });
  const { ids } = await settings.list();
  assert.ok(ids.includes('@jupyterlab/apputils-extension:themes'));
  const id = '@jupyterlab/apputils-extension:themes';
  await settings.save(id, '{\n  // dark is easier at night\n  "theme": "JupyterLab Dark"\n}');
  const plugin = await settings.fetch(id);
  assert.match(plugin.raw, /easier at night/);
  assert.equal(JSON.parse(plugin.raw.replace(/\/\/.*/, '')).theme, 'JupyterLab Dark');
  await settings.save(id, '{}');
});

part('workspaces', async () => {
  const workspaces = new WorkspaceManager({ serverSettings });
  await workspaces.save('mine', { metadata: { id: 'mine' }, data: { 'a:b': { c: 1 } } });
  assert.deepEqual((await workspaces.fetch('mine')).data, { 'a:b': { c: 1 } });
  assert.ok((await workspaces.list()).ids.includes('mine'));
  await workspaces.remove('mine');
  assert.ok(!(await workspaces.list()).ids.includes('mine'));
});

part('user, configuration, conversions', async () => {
  const me = await ServerConnection.makeRequest(base + 'api/me', {}, serverSettings); // UserManager needs a window
  assert.ok((await me.json()).identity.username);
  const section = await ConfigSection.create({ name: 'services', serverSettings });
  await section.update({ a: 1 });
  assert.equal(section.data.a, 1);
  const formats = await new NbConvertManager({ serverSettings }).getExportFormats();
  assert.equal(formats.html.output_mimetype, 'text/html');
});

for (const [name, run] of parts) {
  try {
    await run();
    console.log('ok', name);
  } catch (e) {
    console.error('failed', name, e);
    process.exit(1);
  }
}
process.exit(0); // managers go on polling
