import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { Language, type Node, Parser } from 'web-tree-sitter';
import { moduleTable } from '../../../../../../tools/doubles/hyperv/binder.mjs';
import { FUNCTIONS } from '../../../../../../tools/doubles/hyperv/functions.mjs';

const script = readFileSync(fileURLToPath(new URL('./omnivisor-host.ps1', import.meta.url)), 'utf8');
const grammar = createRequire(import.meta.url).resolve('tree-sitter-powershell/tree-sitter-powershell.wasm');

let root: Node;
beforeAll(async () => {
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(grammar));
  root = parser.parse(script)!.rootNode;
});

const all = (type: string) => root.descendantsOfType(type).filter((node) => node !== null);
/** The strings of `$name = @('…', …)` at the top. */
const listOf = (name: string) => {
  const assignment = all('assignment_expression').find((node) => node.text.startsWith(`${name} = @(`));
  return assignment!.descendantsOfType('verbatim_string_characters').map((node) => node!.text.slice(1, -1));
};
const definitions = () => all('function_statement').map((node) => node.descendantsOfType('function_name')[0]!.text);
const commands = () => all('command_name').map((node) => node.text);

/** What PowerShell itself brings and the script uses. */
const BUILT_IN = new Set([
  ...['Join-Path', 'New-Object', 'Get-Command', 'Select-Object', 'Where-Object', 'ForEach-Object', 'Get-Module'],
  ...['ConvertTo-Json', 'ConvertFrom-Json', 'Remove-TypeData', 'Set-StrictMode', 'Get-ItemProperty'],
  ...['Get-CimInstance', 'Start-Sleep', 'Invoke-CimMethod', 'Register-CimIndicationEvent', 'Get-Event', 'Remove-Event'],
]);

describe('the host script', () => {
  it('is PowerShell', () => {
    expect(root.hasError).toBe(false);
    expect(all('ERROR')).toEqual([]);
  });

  it('runs exactly the cmdlets of the table, and functions of its own', () => {
    expect(listOf('$Cmdlets').sort()).toEqual(Object.keys(moduleTable.cmdlets).sort());
    expect(listOf('$Functions').sort()).toEqual([...FUNCTIONS].sort());
    for (const name of listOf('$Functions')) expect(definitions()).toContain(name);
  });

  it('runs nothing that the driver does not need', () => {
    const folder = fileURLToPath(new URL('..', import.meta.url));
    const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !/spec|testing|generated|host-call/.test(file))
      .map((file) => readFileSync(join(folder, file), 'utf8'))
      .join('');
    for (const name of [...listOf('$Cmdlets'), ...listOf('$Functions')]) expect(sources).toContain(`'${name}'`);
  });

  it('calls nothing by name that is neither its own nor built in', () => {
    const own = new Set(definitions());
    expect(commands().filter((name) => !own.has(name) && !BUILT_IN.has(name))).toEqual([]);
  });

  it('asks nothing but Hyper-V by WMI: an account that comes by ssh is told nothing else', () => {
    const asked = all('command').filter((node) => /^(Get-CimInstance|Register-CimIndicationEvent)/.test(node.text));
    expect(asked).toHaveLength(4);
    for (const { text } of asked) expect(text).toContain('-Namespace root\\virtualization\\v2');
  });

  it('turns no text into code', () => {
    expect(script).not.toMatch(
      /Invoke-Expression|\biex\b|\[scriptblock\]|ScriptBlock\]::Create|Add-Type|Invoke-Command/i,
    );
    // The only command that is not named in the script comes from the two lists.
    expect(all('command_invokation_operator').map((node) => node.parent!.text)).toEqual(['& $command @splat']);
  });

  it('interpolates nothing into a string', () => {
    expect(all('expandable_string_literal').filter((node) => node.text.includes('$'))).toEqual([]);
    expect(all('expandable_here_string_literal')).toEqual([]);
  });

  it('reads no `$input`, for whose sake PowerShell would read standard input itself', () => {
    expect(all('variable').filter((node) => /^\$input$/i.test(node.text))).toEqual([]);
  });

  it('can be parsed by the PowerShell of an old host, which it has to tell that it is too old', () => {
    // Redirection of streams above 2, `-in`, class and `::new()` came later.
    expect(script).not.toMatch(/[3-6*]>|\s-in\s|\s-notin\s|^class |::new\(|\?\?|\?\./m);
  });
});
