/** Where clients log in. */
export const authUrl = (publicUrl) => `${publicUrl}/identity/v3`;

const CLOUDS = 'omnivisor';

/** @typedef {{ username: string, password: string, project: string }} Login */

/** A word of a POSIX shell, whatever is in it. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Shell text that makes `openstack` use this cloud. @param {string} publicUrl @param {Login} login */
export const openrc = (publicUrl, { username, password, project }) =>
  `${Object.entries({
    OS_AUTH_URL: authUrl(publicUrl),
    OS_USERNAME: username,
    OS_PASSWORD: password,
    OS_PROJECT_NAME: project,
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_IDENTITY_API_VERSION: '3',
    OS_REGION_NAME: 'RegionOne',
  })
    .map(([name, value]) => `export ${name}=${quoted(value)}`)
    .join('\n')}\n`;

/** clouds.yaml with one cloud for each login. @param {string} publicUrl @param {Record<string, Login>} logins */
export const cloudsYaml = (publicUrl, logins) =>
  `clouds:\n${Object.entries(logins)
    .map(
      ([name, { username, password, project }]) => `  ${CLOUDS}-${name}:
    auth:
      auth_url: ${authUrl(publicUrl)}
      username: ${JSON.stringify(username)}
      password: ${JSON.stringify(password)}
      project_name: ${JSON.stringify(project)}
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    identity_api_version: 3
`,
    )
    .join('')}`;
