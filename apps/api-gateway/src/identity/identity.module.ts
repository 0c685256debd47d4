import { type DynamicModule, Module } from '@nestjs/common';
import { AccessRulesController } from './application-credential/access-rules.controller.js';
import { ApplicationCredentialsController } from './application-credential/application-credentials.controller.js';
import { GrantsController } from './assignment/grants.controller.js';
import { RoleAssignmentsController } from './assignment/role-assignments.controller.js';
import { CatalogController } from './catalog/catalog.controller.js';
import { CredentialsController } from './credential/credentials.controller.js';
import { Ec2CredentialsController } from './credential/ec2-credentials.controller.js';
import { Ec2TokensController } from './credential/ec2-tokens.controller.js';
import { IdentityDesk } from './desk.js';
import { DomainsController } from './domain/domains.controller.js';
import { GroupsController } from './group/groups.controller.js';
import type { Identity } from './identity.js';
import { LimitsController } from './limit/limits.controller.js';
import { ProjectsController } from './project/projects.controller.js';
import { Removal } from './removal.js';
import { RolesController } from './role/roles.controller.js';
import { TokensController } from './token/tokens.controller.js';
import { UsersController } from './user/users.controller.js';

@Module({})
class IdentityModule {}

export const identityModule = (identity: Identity): DynamicModule => ({
  module: IdentityModule,
  providers: [{ provide: IdentityDesk, useValue: identity.desk }, Removal],
  controllers: [
    TokensController,
    DomainsController,
    ProjectsController,
    UsersController,
    GroupsController,
    RolesController,
    GrantsController,
    RoleAssignmentsController,
    ApplicationCredentialsController,
    AccessRulesController,
    CredentialsController,
    LimitsController,
    Ec2CredentialsController,
    Ec2TokensController,
    CatalogController,
  ],
});
