import type { TokenContext } from '@omnivisor/contracts';

/** What the token of somebody says, who has these roles on a project. */
export const person = (projectId: string | null, userId: string, roles: readonly string[]): TokenContext => ({
  userId,
  userName: userId,
  userDomainId: 'default',
  userDomainName: 'Default',
  projectId,
  projectName: projectId,
  projectDomainId: 'default',
  projectDomainName: 'Default',
  domainId: null,
  domainName: null,
  system: false,
  roles: roles.map((name) => ({ id: name, name })),
  methods: ['password'],
  auditIds: [],
  issuedAt: '2026-01-01T00:00:00.000000Z',
  expiresAt: '2036-01-01T00:00:00.000000Z',
  applicationCredentialId: null,
  isAdminProject: true,
});
