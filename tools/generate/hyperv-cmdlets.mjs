#!/usr/bin/env node
/**
 * node tools/generate/hyperv-cmdlets.mjs FOLDER
 *
 * Writes what the project uses of the Hyper-V module's documented contract: as a table for the double, and as types for
 * the driver. FOLDER has the facts as TSV files with a heading: `hyperv-cmdlets.tsv` (cmdlet, parameter_set, parameter,
 * type, mandatory, accepted_values, aliases, default_set, range, in_2019_module), `hyperv-cmdlet-outputs.tsv` (cmdlet,
 * module_output_type, confirm_impact), `hyperv-object-properties.tsv` (class, property, type), `hyperv-enums.tsv` (enum, name,
 * code), taken from the PowerShell documentation of Windows Server 2025 and the metadata of module 2.0.0.0.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const TABLE = join(root, 'tools/doubles/hyperv/generated/module.json');
const TYPES = join(root, 'apps/compute-agent/src/drivers/hyperv/generated/cmdlets.ts');

const CMDLETS = [
  ...['Get-VMHost', 'Get-VMSwitch'],
  ...['Get-VM', 'New-VM', 'Set-VM', 'Remove-VM'],
  ...['Start-VM', 'Stop-VM', 'Suspend-VM', 'Resume-VM', 'Save-VM', 'Remove-VMSavedState', 'Debug-VM'],
  ...['Set-VMProcessor', 'Set-VMMemory', 'Set-VMBios', 'Set-VMFirmware', 'Set-VMComPort'],
  ...['New-VHD', 'Get-VHD', 'Convert-VHD', 'Resize-VHD'],
  ...['Add-VMHardDiskDrive', 'Get-VMHardDiskDrive', 'Remove-VMHardDiskDrive'],
  ...['Add-VMDvdDrive', 'Get-VMDvdDrive', 'Set-VMDvdDrive'],
  ...['Add-VMNetworkAdapter', 'Get-VMNetworkAdapter', 'Set-VMNetworkAdapter', 'Remove-VMNetworkAdapter'],
  ...['Connect-VMNetworkAdapter', 'Disconnect-VMNetworkAdapter', 'Set-VMNetworkAdapterVlan'],
  ...['Add-VMNetworkAdapterExtendedAcl', 'Get-VMNetworkAdapterExtendedAcl', 'Remove-VMNetworkAdapterExtendedAcl'],
  ...['Checkpoint-VM', 'Get-VMSnapshot', 'Remove-VMSnapshot'],
  ...['Move-VM'],
  ...['Enable-VMResourceMetering', 'Disable-VMResourceMetering', 'Measure-VM'],
  ...['Get-VMIntegrationService', 'Enable-VMIntegrationService'],
];

/** The host script runs on the host it is about, waits for each call, and never only tries. */
const NEVER_USED = /^(CimSession|ComputerName|Credential|AsJob|WhatIf|DestinationCimSession|DestinationCredential)$/;

const read = (folder, name) => {
  const [head, ...lines] = readFileSync(join(folder, name), 'utf8').trimEnd().split('\n');
  const columns = head.split('\t');
  return lines.map((line) => Object.fromEntries(line.split('\t').map((cell, i) => [columns[i], cell])));
};

const groupBy = (rows, column) => {
  const groups = {};
  for (const row of rows) {
    groups[row[column]] ??= [];
    groups[row[column]].push(row);
  }
  return groups;
};

const shortName = (type) => type.split(/[.+]/).at(-1);
const listOf = (text) => text.split('|').filter(Boolean);

/** @returns the table: for each cmdlet its parameters, parameter sets (`Name!` is mandatory) and output. */
export const tableFrom = (folder) => {
  const rows = read(folder, 'hyperv-cmdlets.tsv');
  const outputs = read(folder, 'hyperv-cmdlet-outputs.tsv');
  const enums = groupBy(read(folder, 'hyperv-enums.tsv'), 'enum');
  const classes = groupBy(read(folder, 'hyperv-object-properties.tsv'), 'class');
  const usedEnums = new Set(['VMState']);
  const usedClasses = new Set();

  const cmdlets = {};
  for (const name of [...CMDLETS].sort()) {
    const own = rows.filter((row) => row.cmdlet === name);
    if (own.length === 0) throw new Error(`the tables have no ${name}`);
    // A set that needs what is never used cannot be meant.
    const impossible = new Set(
      own.filter((row) => row.mandatory === 'y' && NEVER_USED.test(row.parameter)).map((row) => row.parameter_set),
    );
    const sets = {};
    const parameters = {};
    for (const row of own.filter((row) => !impossible.has(row.parameter_set))) {
      sets[row.parameter_set] ??= [];
      if (NEVER_USED.test(row.parameter)) continue;
      sets[row.parameter_set].push(row.parameter + (row.mandatory === 'y' ? '!' : ''));
      const type = shortName(row.type);
      const bare = type.replace('[]', '');
      if (enums[bare]) usedEnums.add(bare);
      const aliases = listOf(row.aliases ?? '');
      parameters[row.parameter] = {
        type,
        ...(row.accepted_values ? { values: listOf(row.accepted_values) } : {}),
        ...(row.range ? { range: row.range.split('..').map(Number) } : {}),
        ...(aliases.length > 0 ? { aliases } : {}),
        ...(row.in_2019_module === 'n' ? { since: 2022 } : {}),
      };
    }
    const output = outputs.find((o) => o.cmdlet === name && o.module_output_type);
    const type = output ? shortName(output.module_output_type) : null;
    if (classes[type]) usedClasses.add(type);
    const asks = outputs.some((o) => o.cmdlet === name && o.confirm_impact === 'High');
    cmdlets[name] = {
      output: type,
      ...(asks ? { asks } : {}),
      passthru: Object.values(sets).some((list) => list.includes('Passthru')),
      defaultSet: own.find((row) => row.default_set === 'y' && sets[row.parameter_set])?.parameter_set ?? null,
      sets,
      parameters,
    };
  }

  const objects = {};
  for (const name of usedClasses) {
    objects[name] = Object.fromEntries(classes[name].map(({ property, type }) => [property, shortName(type)]));
    for (const { type } of classes[name]) {
      const bare = shortName(type).replace(/[?[\]]/g, '');
      if (enums[bare]) usedEnums.add(bare);
    }
  }
  return {
    cmdlets,
    enums: Object.fromEntries(
      [...usedEnums].sort().map((name) => [name, Object.fromEntries(enums[name].map((e) => [e.name, Number(e.code)]))]),
    ),
    objects: Object.fromEntries(Object.entries(objects).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
};

const NUMBERS = /^U?Int(16|32|64)$/;

const typeOf = ({ type, values }, table) => {
  const bare = type.replace('[]', '');
  const one = NUMBERS.test(bare)
    ? 'number'
    : bare === 'SwitchParameter' || bare === 'Boolean'
      ? 'boolean'
      : table.enums[bare]
        ? (values ?? Object.keys(table.enums[bare])).map((v) => `'${v}'`).join(' | ')
        : /^(String|Guid|TimeSpan|Version)$/.test(bare)
          ? 'string'
          : 'HostObject';
  return type.endsWith('[]') ? `${one} | readonly (${one})[]` : one;
};

/** TypeScript for the driver: a union of its parameter sets for each cmdlet. */
export const typesFrom = (table) =>
  [
    '/** Generated by tools/generate/hyperv-cmdlets.mjs; do not edit. */',
    '',
    "import type { HostObject } from '../host-call.js';",
    '',
    '/** Parameters of each cmdlet, one member of the union for each parameter set. */',
    'export interface CmdletParameters {',
    ...Object.entries(table.cmdlets).map(([name, { sets, parameters }]) => {
      const forms = Object.values(sets).map((list) => {
        const fields = list.map((entry) => {
          const mandatory = entry.endsWith('!');
          const parameter = entry.replace('!', '');
          const nullable = !mandatory && parameters[parameter].type === 'String' ? ' | null' : '';
          return `readonly ${parameter}${mandatory ? '' : '?'}: ${typeOf(parameters[parameter], table)}${nullable}`;
        });
        return `{ ${fields.join('; ')} }`;
      });
      return `  '${name}': ${forms.map((form) => `| ${form}`).join(' ')};`;
    }),
    '}',
    '',
    ...Object.entries(table.enums).map(
      ([name, values]) =>
        `export type ${name} = ${Object.keys(values)
          .map((v) => `'${v}'`)
          .join(' | ')};`,
    ),
    '',
  ].join('\n');

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = argumentsOf(import.meta.url, { allowPositionals: true, needed: 'FOLDER' }).positionals;
  const table = tableFrom(folder);
  writeFileSync(TABLE, `${JSON.stringify(table, null, 1)}\n`);
  writeFileSync(TYPES, typesFrom(table));
}
